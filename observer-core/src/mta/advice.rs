//! What to change where nothing in a log is understood.

/// Fields by which an entry of the journal is told from other JSON.
const ENTRY: [&str; 2] = ["\"__CURSOR\"", "\"__REALTIME_TIMESTAMP\""];
/// What is shown of a compressed file.
pub(super) const COMPRESSED: &str = "(compressed data)";

/// The key to change, and how, told by the first line that is not understood.
pub fn advice(first: &str) -> &'static str {
    if is_export(first) {
        return "it is what journalctl -o export writes: set log = \"journal\" in [mta] to read the journal itself, or write the file \
                with journalctl -o short-iso";
    }
    if first.starts_with('{') && ENTRY.iter().any(|field| first.contains(field)) {
        return "they are entries of the journal that are of another program: check kind in [mta]";
    }
    if counts_from_boot(first) {
        return "their times count from a boot and do not say from which (journalctl -o short-monotonic): write the file with \
                journalctl -o short-iso-precise, or set log = \"journal\" in [mta] to read the journal itself";
    }
    if first == COMPRESSED {
        return "set log in [mta] to the file that the mail server writes, which is not compressed";
    }
    "check kind and log in [mta]"
}

/// `FIELD=value`, systemd.journal-fields(7): capital letters, digits and underscores.
pub fn is_export(line: &str) -> bool {
    let Some((field, _)) = line.split_once('=') else { return false };
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    !field.is_empty() && field.chars().all(is_of_name) && !field.starts_with(|c: char| c.is_ascii_digit())
}

/// `[   12.345678] host tag[pid]: `, and with `-o short-delta` what has passed since the line before it: the
/// seconds since some boot, which leave open when that was.
fn counts_from_boot(line: &str) -> bool {
    let Some((inside, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { return false };
    let time = inside.split('<').next().unwrap_or_default().trim_ascii();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = time.split_once('.').is_some_and(|(seconds, fraction)| is_number(seconds) && is_number(fraction));
    is_time && rest.starts_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_is_wrong_is_named() {
        for line in ["__CURSOR=s=0639b5", "MESSAGE=connect to mx.example[203.0.113.5]:25: Connection refused", "_PID=7"]
        {
            assert!(advice(line).contains("set log = \"journal\" in [mta]"), "{line}");
        }
        assert!(advice(COMPRESSED).starts_with("set log in [mta]"));
        assert!(advice("{\"__CURSOR\":\"s=1\",\"MESSAGE\":\"x\"}").ends_with("check kind in [mta]"));
        for line in [
            "[   12.345678] mx1 postfix/smtp[12]: A1B2C3D4E5: to=<*@example.net>",
            "[123456.789012] mx1 kernel: x",
            "[   12.345678 <    0.000123 >] mx1 postfix/smtp[12]: a",
        ] {
            assert!(advice(line).contains("journalctl -o short-iso-precise"), "{line}");
        }
        for other in [
            "[1.2]",
            "[1.] x",
            "[12] a b",
            "[1.2.3] a",
            "[1.2",
            "=",
            "Nov 26 16:07:01 mx1 sendmail[7]: x=y",
            "a=b",
            "7A=b",
            "=x",
        ] {
            assert_eq!(advice(other), "check kind and log in [mta]", "{other}");
        }
    }
}
