//! A panel of a dashboard, as Grafana's JSON.

use serde_json::{Value, json};

use super::overrides::{by_last_word, fixed};
use super::palette::Word;
use super::query::Target;

/// Number of columns of the grid.
pub(super) const GRID: u32 = 24;

/// The type of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Row,
    Stat,
    TimeSeries,
    BarGauge,
    Heatmap,
    Table,
    Text,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Stat => "stat",
            Self::TimeSeries => "timeseries",
            Self::BarGauge => "bargauge",
            Self::Heatmap => "heatmap",
            Self::Table => "table",
            Self::Text => "text",
        }
    }
}

/// The unit of a panel's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Counts per second.
    PerSecond,
    Count,
    Seconds,
    Bytes,
    /// A fraction: 0.5 is 50 %.
    Ratio,
}

impl Unit {
    /// Grafana's name of the unit.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "cps",
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Ratio => "percentunit",
        }
    }
}

/// A panel without its position.
pub(super) struct Panel {
    pub(super) kind: Kind,
    pub(super) width: u32,
    pub(super) height: u32,
    title: String,
    description: String,
    unit: Unit,
    pub(super) targets: Vec<Target>,
    options: Value,
    instant: bool,
    custom: Value,
    defaults: Value,
    steps: Vec<Value>,
    pub(super) overrides: Vec<Value>,
    pub(super) transformations: Vec<Value>,
}

/// A panel with the defaults of its kind. The description explains what it shows and what to do.
pub(super) fn panel(kind: Kind, title: &str, description: &str, unit: Unit) -> Panel {
    let (width, height) = match kind {
        Kind::Row => (GRID, 1),
        Kind::Stat => (4, 4),
        Kind::Text => (GRID, 12),
        _ => (12, 9),
    };
    Panel {
        kind,
        width,
        height,
        title: title.to_owned(),
        description: description.to_owned(),
        unit,
        targets: Vec::new(),
        options: options(kind),
        instant: matches!(kind, Kind::BarGauge | Kind::Table),
        custom: custom(kind),
        defaults: json!({}),
        steps: vec![json!({ "color": if kind == Kind::Stat { "blue" } else { "green" }, "value": null })],
        overrides: Vec::new(),
        transformations: Vec::new(),
    }
}

/// The header of a row of panels.
pub(super) fn row(title: &str) -> Panel {
    panel(Kind::Row, title, "", Unit::Count)
}

impl Panel {
    pub(super) fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    /// Adds a query.
    pub(super) fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Colours values yellow from one threshold and red from another.
    pub(super) fn thresholds(mut self, yellow: f64, red: f64) -> Self {
        self.steps = vec![
            json!({ "color": "green", "value": null }),
            json!({ "color": "#EAB839", "value": yellow }),
            json!({ "color": "red", "value": red }),
        ];
        self
    }

    /// Shows only the current value, for queries over the whole time range.
    pub(super) fn instant(self) -> Self {
        Self { instant: true, ..self.option("graphMode", json!("none")) }
    }

    /// Assigns colours to series whose name is one of these words or ends with it.
    pub(super) fn coloured(mut self, words: &[Word]) -> Self {
        self.overrides.extend(words.iter().map(|(word, colour)| by_last_word(word, &[fixed(colour)])));
        self
    }

    /// Stacks the series, if their sum matters.
    pub(super) fn stacked(mut self) -> Self {
        set(&mut self.custom, "stacking", json!({ "group": "A", "mode": "normal" }));
        set(&mut self.custom, "fillOpacity", json!(60));
        self
    }

    /// Sets a field default, such as `max`.
    pub(super) fn default(mut self, key: &str, value: Value) -> Self {
        set(&mut self.defaults, key, value);
        self
    }

    /// Sets an option of the visualization for all fields.
    pub(super) fn custom(mut self, key: &str, value: Value) -> Self {
        set(&mut self.custom, key, value);
        self
    }

    /// Sets an option of the panel.
    pub(super) fn option(mut self, key: &str, value: Value) -> Self {
        set(&mut self.options, key, value);
        self
    }

    /// The panel's JSON, with the ID and position that the dashboard assigns.
    pub(super) fn json(&self, id: u32, x: u32, y: u32) -> Value {
        let mut all = json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
        });
        if self.kind == Kind::Row {
            set(&mut all, "collapsed", json!(false));
            set(&mut all, "panels", json!([]));
            return all;
        }
        set(&mut all, "description", json!(self.description));
        set(&mut all, "options", self.options.clone());
        if self.kind != Kind::Text {
            set(&mut all, "datasource", datasource());
            set(&mut all, "fieldConfig", self.fields());
            set(&mut all, "targets", self.targets());
            set(&mut all, "transformations", json!(self.transformations));
        }
        all
    }

    fn fields(&self) -> Value {
        let mut defaults = json!({
            "unit": self.unit.name(),
            "custom": self.custom,
            "thresholds": { "mode": "absolute", "steps": self.steps },
            "color": { "mode": if self.kind == Kind::TimeSeries { "palette-classic" } else { "thresholds" } },
            "noValue": "–",
        });
        for (key, value) in self.defaults.as_object().into_iter().flatten() {
            set(&mut defaults, key, value.clone());
        }
        json!({ "defaults": defaults, "overrides": self.overrides })
    }

    fn targets(&self) -> Value {
        let format = |target: &Target| match self.kind {
            Kind::Table => "table",
            _ if target.buckets => "heatmap",
            _ => "time_series",
        };
        let json = |(target, letter): (&Target, char)| {
            json!({
                "refId": letter.to_string(),
                "datasource": datasource(),
                "editorMode": "code",
                "expr": target.expr,
                "legendFormat": target.legend,
                "format": format(target),
                "instant": self.instant,
                "range": !self.instant,
            })
        };
        self.targets.iter().zip('A'..='Z').map(json).collect()
    }
}

pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Sets a key of an object.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

fn options(kind: Kind) -> Value {
    let reduced = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match kind {
        Kind::Row => json!({}),
        Kind::Stat => {
            json!({ "colorMode": "value", "graphMode": "area", "textMode": "auto", "reduceOptions": reduced })
        }
        Kind::BarGauge => json!({
            "displayMode": "basic", "orientation": "horizontal", "showUnfilled": false, "valueMode": "text",
            "reduceOptions": reduced,
        }),
        Kind::TimeSeries => json!({
            "legend": { "displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["mean", "max"],
                "sortBy": "Max", "sortDesc": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::Heatmap => json!({
            "calculate": false,
            "cellGap": 1,
            "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "scale": "exponential" },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "tooltip": { "mode": "single", "yHistogram": true },
            "yAxis": { "axisPlacement": "left", "unit": "s" },
        }),
        Kind::Table => json!({ "showHeader": true, "cellHeight": "sm", "footer": { "show": false } }),
        Kind::Text => json!({ "mode": "markdown", "content": "" }),
    }
}

fn custom(kind: Kind) -> Value {
    match kind {
        Kind::TimeSeries => json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
            "axisSoftMin": 0, "stacking": { "group": "A", "mode": "none" },
        }),
        Kind::Table => json!({ "align": "auto", "filterable": true, "cellOptions": { "type": "auto" } }),
        Kind::Heatmap => json!({ "scaleDistribution": { "type": "linear" } }),
        _ => json!({}),
    }
}
