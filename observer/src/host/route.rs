//! Asks for this host's routing decision.

use std::net::IpAddr;

pub use observer_core::evidence::route::Route;

use super::tool::run;

/// Asks `ip -j route get`. Changes nothing, and sends nothing.
///
/// # Errors
/// If there is no ip(8), or it says what is not understood: why, in a line.
pub fn to(destination: IpAddr) -> Result<Route, String> {
    get(&[&destination.to_string()])
}

/// The same of what is sent from one of this host's addresses.
///
/// # Errors
/// As [`to`].
pub fn from(source: IpAddr, destination: IpAddr) -> Result<Route, String> {
    get(&[&destination.to_string(), "from", &source.to_string()])
}

/// True if a route leads to the destination's own link, with no router in between.
pub fn is_on_link(route: &Route) -> bool {
    let shown = route.link().and_then(|interface| run("ip", &["-j", "link", "show", "dev", interface]).ok());
    shown.is_some_and(|json| Route::has_neighbours(&json))
}

fn get(asked: &[&str]) -> Result<Route, String> {
    match run("ip", &[&["-j", "route", "get"], asked].concat()) {
        Ok(json) => Route::read(&json),
        Err(error) => Route::refused(&error.to_string()).ok_or_else(|| format!("ip route get: {error}")),
    }
}
