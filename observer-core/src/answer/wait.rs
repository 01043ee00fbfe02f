//! How long an answer asks to wait.

use std::time::Duration;

/// A longer time is no time to wait for.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// The time in `try again in 300 s`, `for 181 seconds`, `after 1 minute and 30 seconds`
/// or `come back in 00:05:00`; `None` if there is none, or it makes no sense. The text is
/// in lower case.
pub(super) fn wait(text: &str) -> Option<Duration> {
    const BEFORE: [&str; 14] = [
        "in", "for", "after", "wait", "least", "within", "next", "about", "another", "further", "every", "dans",
        "nach", "delay",
    ];
    let words: Vec<&str> = text.split([' ', ',', '(', ')', ';']).filter(|word| !word.is_empty()).collect();
    let found = (0..words.len()).find_map(|at| {
        let (time, _) = clock(words[at]).map(|time| (time, 1)).or_else(|| sum(&words[at..]))?;
        // "300 seconds" alone says enough; "00:05:00" may be the time of day.
        let is_clock = clock(words[at]).is_some();
        let is_meant = at > 0 && BEFORE.contains(&words[at - 1].trim_end_matches([':', '=']));
        (is_meant || !is_clock && is_alone(&words, at)).then_some(time)
    })?;
    (!found.is_zero() && found <= LONGEST).then_some(found)
}

/// Whether a time that no preposition introduces is the time to wait: `greylisted, 300 seconds`.
fn is_alone(words: &[&str], at: usize) -> bool {
    words[..at].iter().rev().take(3).any(|word| word.starts_with("gr") && word.contains("list"))
}

/// `5 minutes`, `300s`, `1 hour and 30 minutes`.
fn sum(words: &[&str]) -> Option<(Duration, usize)> {
    let (mut total, mut taken) = one(words)?;
    loop {
        let skipped = usize::from(words.get(taken).is_some_and(|word| matches!(*word, "and" | "et" | "und")));
        let Some((more, used)) = words.get(taken + skipped..).and_then(one) else { break };
        total = total.checked_add(more)?;
        taken += skipped + used;
    }
    Some((total, taken))
}

fn one(words: &[&str]) -> Option<(Duration, usize)> {
    let first = words.first()?;
    let digits = first.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 6 {
        return None;
    }
    let number: u64 = first[..digits].parse().ok()?;
    let (unit, taken) = match &first[digits..] {
        "" => (*words.get(1)?, 2),
        unit => (unit, 1),
    };
    let seconds = match unit.trim_end_matches(['.', ':', '!', ']']) {
        "s" | "sec" | "secs" | "second" | "seconds" | "sekunden" | "secondes" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" | "minuten" | "minute(s" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" | "stunden" | "heures" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return None,
    };
    Some((Duration::from_secs(number.checked_mul(seconds)?), taken))
}

/// `HH:MM:SS`, of milter-greylist.
fn clock(word: &str) -> Option<Duration> {
    let mut parts = word.trim_end_matches(['.', '!']).split(':');
    let mut part = || parts.next().filter(|part| part.len() == 2).and_then(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (part()?, part()?, part()?);
    (parts.next().is_none() && minutes < 60 && seconds < 60)
        .then(|| Duration::from_secs(3_600 * hours + 60 * minutes + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_said_is_read() {
        for (text, seconds) in [
            ("greylisted, please try again in 300 s", Some(300)),
            ("greylisted for 181 seconds (see http://example.org/a.html)", Some(181)),
            ("please come back in 00:04:30", Some(270)),
            ("try again after 2 minutes", Some(120)),
            ("retry in 5min.", Some(300)),
            ("wait 1 hour and 30 minutes", Some(5_400)),
            ("greylisting, 60 seconds", Some(60)),
            ("veuillez reessayer dans 10 minutes", Some(600)),
            ("you must wait at least 4 minutes", Some(240)),
            ("come back later", None),
            ("at 10:15:00 your message of 3 seconds was seen", None),
            ("try again in 999999 days", None),
            ("in 0 seconds", None),
            ("in 18446744073709551616 seconds", None),
            ("in 5", None),
            ("in", None),
            ("", None),
        ] {
            assert_eq!(wait(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
