//! Links between the dashboards.

/// UIDs of the dashboards. They are part of links, so they must not change.
pub(super) const RESETS: &str = "rstwatch-resets";
pub(super) const IDLE: &str = "rstwatch-idle";
pub(super) const CAPACITY: &str = "rstwatch-capacity";

/// A link to a dashboard that keeps the current variables and filters by labels of the row.
pub(super) fn url(uid: &str, filters: &[&str]) -> String {
    let mut url = format!("/d/{uid}?${{datasource:queryparam}}&${{job:queryparam}}");
    if !filters.contains(&"instance") {
        url += "&${instance:queryparam}";
    }
    for label in filters {
        url += &format!("&var-{label}=${{__data.fields.{label}}}");
    }
    url + "&${__url_time_range}"
}
