//! A panel as Grafana keeps it.

use serde_json::{Value, json};

use super::palette;
use super::query::Target;

/// Width of the grid.
pub(super) const GRID: u32 = 24;

/// What a panel draws.
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

/// A unit by Grafana's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Counts per second.
    PerSecond,
    Count,
    Seconds,
    Bytes,
    /// Of one: 0.5 is 50 %.
    Share,
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "cps",
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Share => "percentunit",
        }
    }
}

/// A panel without its place.
pub(super) struct Panel {
    pub(super) kind: Kind,
    pub(super) width: u32,
    pub(super) height: u32,
    title: String,
    about: String,
    unit: Unit,
    pub(super) targets: Vec<Target>,
    options: Value,
    instant: bool,
    custom: Value,
    extra: Value,
    steps: Vec<Value>,
    pub(super) overrides: Vec<Value>,
    pub(super) transformations: Vec<Value>,
}

/// A panel that shows something; the sentence says what it tells and what to do.
pub(super) fn panel(kind: Kind, title: &str, about: &str, unit: Unit) -> Panel {
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
        about: about.to_owned(),
        unit,
        targets: Vec::new(),
        options: options(kind),
        instant: matches!(kind, Kind::BarGauge | Kind::Table),
        custom: custom(kind),
        extra: json!({}),
        steps: vec![json!({ "color": if kind == Kind::Stat { "blue" } else { "green" }, "value": null })],
        overrides: Vec::new(),
        transformations: Vec::new(),
    }
}

/// The header of what follows.
pub(super) fn row(title: &str) -> Panel {
    panel(Kind::Row, title, "", Unit::Count)
}

impl Panel {
    pub(super) fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    pub(super) fn ask(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Yellow from one value on, red from another.
    pub(super) fn alarm(mut self, yellow: f64, red: f64) -> Self {
        self.steps = vec![
            json!({ "color": "green", "value": null }),
            json!({ "color": "#EAB839", "value": yellow }),
            json!({ "color": "red", "value": red }),
        ];
        self
    }

    /// Only now, without a course: its query looks back over the whole time range.
    pub(super) fn now(self) -> Self {
        Self { instant: true, ..self.option("graphMode", json!("none")) }
    }

    /// Series of these names keep their colours.
    pub(super) fn coloured(mut self, colours: &[(&str, &str)]) -> Self {
        let of = |(name, colour): &(&str, &str)| {
            let properties = [palette::fixed(colour)];
            json!({ "matcher": { "id": "byName", "options": name }, "properties": properties })
        };
        self.overrides.extend(colours.iter().map(of));
        self
    }

    /// Series that are called by their cause keep its colour.
    pub(super) fn by_cause(mut self) -> Self {
        self.overrides.extend(palette::by_cause());
        self
    }

    /// Areas on each other: their sum is of interest.
    pub(super) fn stacked(mut self) -> Self {
        set(&mut self.custom, "stacking", json!({ "group": "A", "mode": "normal" }));
        set(&mut self.custom, "fillOpacity", json!(60));
        self
    }

    /// A setting of the whole field, such as `max`.
    pub(super) fn default(mut self, key: &str, value: Value) -> Self {
        set(&mut self.extra, key, value);
        self
    }

    pub(super) fn custom(mut self, key: &str, value: Value) -> Self {
        set(&mut self.custom, key, value);
        self
    }

    pub(super) fn option(mut self, key: &str, value: Value) -> Self {
        set(&mut self.options, key, value);
        self
    }

    /// As Grafana keeps it; places come from the dashboard.
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
        set(&mut all, "description", json!(self.about));
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
        for (key, value) in self.extra.as_object().into_iter().flatten() {
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
