//! Durations for people.

use std::time::Duration;

/// `45 s`, `3 min 05 s`, `1 h 20 min`.
pub fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if !time.is_zero() => "under 1 s".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_a_person_would_say_it() {
        let cases = [
            (0, "0 s"),
            (45, "45 s"),
            (185, "3 min 05 s"),
            (4_800, "1 h 20 min"),
        ];
        for (seconds, said) in cases {
            assert_eq!(human(Duration::from_secs(seconds)), said);
        }
    }
}
