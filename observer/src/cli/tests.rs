use std::time::Duration;

use clap::{CommandFactory, Parser};
use observer_core::format::Format;
use observer_core::label::Label;

use super::{Cli, Command, ReportArgs, ReportFormat, WatchArgs, When};

fn parse(args: &[&str]) -> Result<Cli, String> {
    let words = ["observer"].into_iter().chain(args.iter().copied());
    Cli::from_args(words).map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{error}");
        let text = error.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

fn watch(args: &[&str]) -> WatchArgs {
    let words: Vec<_> = ["watch"].into_iter().chain(args.iter().copied()).collect();
    match parse(&words).unwrap().command {
        Command::Watch(watch) => *watch,
        other => panic!("{other:?}"),
    }
}

fn watch_error(args: &[&str]) -> String {
    let words: Vec<_> = ["watch"].into_iter().chain(args.iter().copied()).collect();
    parse(&words).unwrap_err()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults() {
    let watch = watch(&[]);
    assert_eq!((watch.port.as_slice(), watch.ports()), ([].as_slice(), vec![25]));
    assert_eq!(watch.output.format, Format::Text);
    assert_eq!((watch.output.count, watch.output.duration), (None, None));
    assert_eq!(watch.kernel.settings(), crate::config::Kernel::default());
    assert!(!watch.kernel.no_syscall_hooks);
    assert_eq!(watch.filter(), observer_core::filter::Filter::default());
}

#[test]
fn ports_are_merged_and_bounded() {
    assert_eq!(watch(&["-p", "25", "--port", "587,25", "-p", "465"]).port, [25, 587, 465]);
    assert_eq!(watch(&["-p", "1,2,3,4,5,6,7,8,8,8"]).port.len(), 8);
    insta::assert_snapshot!(watch_error(&["-p", "1,2,3,4,5,6,7,8,9"]), @"error: --port 1,2,3,4,5,6,7,8,9: 9 ports, and at most 8 can be watched: leave some out");
    insta::assert_snapshot!(watch_error(&["-p", "0"]), @"error: invalid value '0' for '--port <PORT>': expected a port from 1 to 65535, such as 25");
    insta::assert_snapshot!(watch_error(&["-p", "65536"]), @"error: invalid value '65536' for '--port <PORT>': expected a port from 1 to 65535, such as 25");
    insta::assert_snapshot!(watch_error(&["-p", "smtp"]), @"error: invalid value 'smtp' for '--port <PORT>': expected a port from 1 to 65535, such as 25");
}

#[test]
fn destinations_are_prefixes() {
    for (typed, meant) in [
        ("203.0.113.5", "203.0.113.5/32"),
        ("203.0.113.5/24", "203.0.113.0/24"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("[2001:db8::1]", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::ffff:203.0.113.5", "203.0.113.5/32"),
        ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(watch(&["-d", typed]).filter().destinations, [meant.parse().unwrap()], "{typed}");
        assert_eq!(watch(&[typed]).filter().destinations, [meant.parse().unwrap()], "{typed}");
    }
}

#[test]
fn bad_destinations_say_what_to_do() {
    insta::assert_snapshot!(watch_error(&["-d", "203.0.113.0/33"]), @r#"error: invalid value '203.0.113.0/33' for '--destination <DEST>': expected a prefix length from 0 to 32, not "33""#);
    insta::assert_snapshot!(watch_error(&["-d", "2001:db8::/x"]), @r#"error: invalid value '2001:db8::/x' for '--destination <DEST>': expected a prefix length from 0 to 128, not "x""#);
    let all = [
        watch_error(&["-d", "203.0.113.999"]),
        watch_error(&["2001:db8:::1"]),
        parse(&["report", "-d", "mx.example.net"]).unwrap_err(),
        parse(&["diagnose", "203.0.113.999"]).unwrap_err(),
        watch_error(&["--uid", "root"]),
        watch_error(&["--pid", "smtp"]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_port_behind_a_destination_is_a_port_to_watch() {
    let typed = watch(&["203.0.113.5:587", "-d", "[2001:db8::1]:465", "mx.example.net", "-p", "25"]);
    assert_eq!(typed.port, [25, 465, 587]);
    assert_eq!(typed.filter().destinations.len(), 2);
    assert!(typed.filter.destination.iter().any(|to| to.name() == Some("mx.example.net")));
    assert_eq!(report(&["-d", "203.0.113.5:587"]).unwrap().port, [587]);
    let diagnose = |args: &[&str]| match parse(&[&["diagnose"], args].concat()).unwrap().command {
        Command::Diagnose(args) => (args.destination.clone().unwrap(), args.port()),
        other => panic!("{other:?}"),
    };
    assert_eq!(diagnose(&["mx.example.net:587"]), ("mx.example.net".to_owned(), 587));
    assert_eq!(diagnose(&["203.0.113.0/24", "-p", "465"]), ("203.0.113.0/24".to_owned(), 465));
    assert_eq!(diagnose(&["203.0.113.5"]), ("203.0.113.5".to_owned(), 25));
    assert_eq!(diagnose(&["203.0.113.5:587", "-p", "587"]), ("203.0.113.5".to_owned(), 587));
    for port in ["25", "465"] {
        let refused = parse(&["diagnose", "-p", port, "203.0.113.5:587"]).unwrap_err();
        let expected = format!("error: --port {port} contradicts the port of \"203.0.113.5:587\": name one of them");
        assert!(refused.contains(&expected), "{refused}");
    }
}

fn run(args: &[&str]) -> super::RunArgs {
    let words: Vec<_> = ["run"].into_iter().chain(args.iter().copied()).collect();
    match parse(&words).unwrap().command {
        Command::Run(run) => *run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn history_has_a_place_and_a_size() {
    let typed = run(&[]);
    let mut history = None;
    typed.history.lay_over(&mut history);
    assert_eq!(history, None);
    let typed = run(&["-p", "25,587,25", "--history", "h", "--retain-days", "90", "--retain-size", "500M"]);
    typed.history.lay_over(&mut history);
    let crate::config::History { path, retention, .. } = history.unwrap();
    assert_eq!((typed.port, path.to_str()), (vec![25, 587], Some("h")));
    assert_eq!((retention.age, retention.bytes), (Duration::from_hours(90 * 24), 500 << 20));
    insta::assert_snapshot!(parse(&["run", "--retain-size", "1M"]).unwrap_err(), @"error: invalid value '1M' for '--retain-size <BYTES>': expected a size from 16M to 1024G, such as 1G");
    insta::assert_snapshot!(parse(&["run", "--retain-days", "0"]).unwrap_err(), @"error: invalid value '0' for '--retain-days <DAYS>': 0 is not in 1..=36500");
    assert_eq!(watch(&[]).output.record, None);
    assert_eq!(watch(&["--record"]).output.record, Some(None));
    assert_eq!(watch(&["--record", "h"]).output.record, Some(Some("h".into())));
    assert_eq!(watch(&["--record", "./203.0.113.5"]).output.record, Some(Some("./203.0.113.5".into())));
    insta::assert_snapshot!(watch_error(&["--record", "203.0.113.5"]), @"error: invalid value '203.0.113.5' for '--record [<PATH>]': expected a file: put a destination before the option, or write ./ before a file's name");
    for typed in ["203.0.113.5:25", "203.0.113.0/24", "2001:db8::1"] {
        assert!(watch_error(&["--record", typed]).contains("put a destination before"), "{typed}");
    }
}

#[test]
fn filters_repeat() {
    let typed = watch(&[
        "--label",
        "refused",
        "--label",
        "timeout",
        "--pid",
        "1",
        "--pid",
        "2",
        "--comm",
        "smtp",
        "--uid",
        "0,89",
        "--cgroup",
        "/sys/fs/cgroup/system.slice/",
        "--cgroup",
        "user.slice",
        "--successes",
    ]);
    let filter = typed.filter();
    assert_eq!(filter.labels, [Label::Refused, Label::Timeout]);
    assert_eq!((filter.pids, filter.uids), (vec![1, 2], vec![0, 89]));
    assert_eq!(filter.comms, ["smtp"]);
    assert_eq!(filter.cgroups, ["/system.slice", "/user.slice"].map(std::path::PathBuf::from));
    assert!(filter.successes);
}

#[test]
fn an_unknown_label_lists_the_known() {
    let words = ["observer", "watch", "--label", "denied"];
    let error = Cli::try_parse_from(words).unwrap_err().to_string();
    for label in Label::ALL {
        assert!(error.contains(label.as_str()), "{error}");
    }
}

#[test]
fn durations() {
    for (typed, seconds) in [("30s", 30), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("2 min", 120), ("PT30S", 30)] {
        assert_eq!(watch(&["--duration", typed]).output.duration, Some(Duration::from_secs(seconds)), "{typed}");
    }
    insta::assert_snapshot!(watch_error(&["--duration", "0s"]), @"error: invalid value '0s' for '--duration <TIME>': expected a time longer than zero, such as 30s, 5m or 1h30m");
    insta::assert_snapshot!(watch_error(&["--duration=-5s"]), @"error: invalid value '-5s' for '--duration <TIME>': expected a time longer than zero, such as 30s, 5m or 1h30m");
    insta::assert_snapshot!(watch_error(&["--duration", "30"]), @"error: invalid value '30' for '--duration <TIME>': expected a time longer than zero, such as 30s, 5m or 1h30m");
}

#[test]
fn sizes() {
    for (typed, bytes) in [("65536", 1 << 16), ("64K", 1 << 16), ("4M", 1 << 22), ("8MiB", 1 << 23), ("1G", 1 << 30)] {
        assert_eq!(watch(&["--ring-size", typed]).kernel.ring_size, Some(bytes), "{typed}");
    }
    insta::assert_snapshot!(watch_error(&["--ring-size", "5M"]), @"error: invalid value '5M' for '--ring-size <BYTES>': expected a power of two from 64K to 1G, such as 4M or 8M");
    insta::assert_snapshot!(watch_error(&["--ring-size", "4096"]), @"error: invalid value '4096' for '--ring-size <BYTES>': expected a power of two from 64K to 1G, such as 4M");
    insta::assert_snapshot!(watch_error(&["--ring-size", "2G"]), @"error: invalid value '2G' for '--ring-size <BYTES>': expected a power of two from 64K to 1G, such as 4M");
    insta::assert_snapshot!(watch_error(&["--ring-size", "18446744073709551615G"]), @"error: invalid value '18446744073709551615G' for '--ring-size <BYTES>': expected a power of two from 64K to 1G, such as 4M");
    insta::assert_snapshot!(watch_error(&["--max-in-flight", "0"]), @"error: invalid value '0' for '--max-in-flight <N>': expected a whole number from 1 to 4194304");
    insta::assert_snapshot!(watch_error(&["--max-destinations", "5000000"]), @"error: invalid value '5000000' for '--max-destinations <N>': expected a whole number from 1 to 4194304");
    insta::assert_snapshot!(watch_error(&["-n", "0"]), @"error: invalid value '0' for '--count <N>': expected a whole number from 1");
    insta::assert_snapshot!(watch_error(&["--cgroup", "../system.slice"]), @"error: invalid value '../system.slice' for '--cgroup <PATH>': expected a cgroup's path in full, without '..'");
}

#[test]
fn colour_is_global() {
    assert_eq!(parse(&["watch", "--color", "never"]).unwrap().color, When::Never);
    assert_eq!(parse(&["--color", "always", "doctor"]).unwrap().color, When::Always);
    assert_eq!(parse(&["man"]).unwrap().color_choice(), anstream::ColorChoice::Auto);
}

#[test]
fn every_option_has_a_help_text() {
    let mut root = Cli::command();
    root.build();
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
        }
    }
}

#[test]
fn long_help_explains_more_than_short() {
    let mut root = Cli::command();
    for (name, part) in [
        ("watch", "with the exact counts"),
        ("watch", "jq .dst.ip"),
        ("run", "FROM minute"),
        ("doctor", "taken off again"),
    ] {
        let long = root.find_subcommand_mut(name).unwrap().render_long_help().to_string();
        let unwrapped = long.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(part), "{long}");
    }
}

#[test]
fn completions_and_manual_name_every_command() {
    let script = String::from_utf8(Cli::completions(clap_complete::Shell::Bash)).unwrap();
    let page = String::from_utf8(Cli::man().unwrap()).unwrap();
    for name in ["watch", "run", "top", "report", "doctor", "completions", "man"] {
        assert!(script.contains(name) && page.contains(name), "{name}");
    }
    assert!(page.contains("no\\-syscall\\-hooks"), "{page}");
    let title = concat!(".TH observer 8 \"\" \"observer ", env!("CARGO_PKG_VERSION"), "\" \"System administration\"");
    assert!(page.lines().any(|line| line.trim_end() == title), "{page}");
    // Of which a formatter makes two empty lines, or complains.
    assert!(!page.contains(".br\n\n"), "{page}");
}

fn report(args: &[&str]) -> Result<ReportArgs, String> {
    let words: Vec<_> = ["report"].into_iter().chain(args.iter().copied()).collect();
    parse(&words).map(|cli| match cli.command {
        Command::Report(report) => *report,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_report_is_of_history_unless_it_is_live() {
    let by_default = report(&[]).unwrap();
    assert_eq!(by_default.history, None);
    assert_eq!((by_default.format, by_default.top()), (ReportFormat::Table, 20));
    assert!(by_default.selection().is_all() && by_default.since.is_none() && by_default.live.is_none());
    assert_eq!(report(&["--live", "30s"]).unwrap().live, Some(Duration::from_secs(30)));
    for option in ["--since", "--until", "--history"] {
        let error = report(&["--live", "30s", option, "today"]).unwrap_err();
        assert!(error.contains("cannot be used with") && error.contains(option), "{error}");
    }
}

#[test]
fn report_values_are_checked() {
    assert_eq!(report(&["--top", "0"]).unwrap().top(), usize::MAX);
    // The kernel watches eight ports; history has any number.
    assert_eq!(report(&["-p", "1,2,3,4,5,6,7,8,9"]).unwrap().port.len(), 9);
    insta::assert_snapshot!(report(&["--live", "1s", "-p", "1,2,3,4,5,6,7,8,9"]).unwrap_err(), @"error: --port 1,2,3,4,5,6,7,8,9: 9 ports, and at most 8 can be watched: leave some out");
    insta::assert_snapshot!(report(&["--since", "soon"]).unwrap_err(), @"error: invalid value 'soon' for '--since <TIME>': expected a time ago (1h, 30 min ago), a day (today, yesterday, monday, 2026-11-23), a day with a time (yesterday 14:00), or RFC 3339 (2026-11-23T14:00:00Z)");
}
