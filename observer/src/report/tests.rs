use jiff::tz::TimeZone;

use super::{html, json, sample, table};

#[test]
fn each_format_says_the_same_numbers() {
    let report = sample::report();
    let json: serde_json::Value = serde_json::from_slice(&json::render(&report).unwrap()).unwrap();
    assert_eq!(json["overview"]["attempts"], 640);
    assert_eq!(json["overview"]["failures"], 250);
    let said = "640 attempts to 6 destinations: 250 failed (39.1%), 390 went well";
    assert!(table::render(&report, 80, &TimeZone::UTC).contains(said));
    assert!(html::render(&report, &TimeZone::UTC).unwrap().contains(said));
}
