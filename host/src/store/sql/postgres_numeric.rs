//! PostgreSQL's exact numbers on the wire: groups of four decimal digits, the weight of the first
//! one, a sign, and how many digits to show behind the point.

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Decimal text as the server takes it; `None` if it is too long for that, or none.
pub(super) fn write(text: &str) -> Option<Vec<u8>> {
    let special = match text {
        "NaN" => Some(NAN),
        "infinity" => Some(INFINITY),
        "-infinity" => Some(MINUS_INFINITY),
        _ => None,
    };
    if let Some(sign) = special {
        return Some(laid_out(0, sign, 0, &[]));
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = u16::try_from(fraction.len()).ok().filter(|scale| *scale < 0x4000)?;
    // Both sides are filled up with zeros to whole groups, outwards from the point.
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let weight = i32::try_from(whole.len() / 4).ok()? - 1;
    let digits = [whole, fraction].concat();
    let groups = digits.as_bytes().chunks(4).map(|group| {
        group.iter().try_fold(0, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
        })
    });
    let groups: Vec<u16> = groups.collect::<Option<_>>()?;
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    let end = groups.iter().rposition(|group| *group != 0).map_or(zeros, |last| last + 1);
    let weight = i16::try_from(weight - i32::try_from(zeros).ok()?).ok()?;
    Some(match &groups[zeros..end] {
        [] => laid_out(0, 0, scale, &[]),
        groups => laid_out(weight, sign, scale, groups),
    })
}

fn laid_out(weight: i16, sign: u16, scale: u16, groups: &[u16]) -> Vec<u8> {
    let count = u16::try_from(groups.len()).unwrap_or(u16::MAX);
    let mut bytes = count.to_be_bytes().to_vec();
    bytes.extend(weight.to_be_bytes());
    bytes.extend(sign.to_be_bytes());
    bytes.extend(scale.to_be_bytes());
    bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    bytes
}

/// Decimal text of what the server sends.
pub(super) fn read(bytes: &[u8]) -> Option<String> {
    let (words, []) = bytes.as_chunks::<2>() else { return None };
    let [count, weight, sign, scale, groups @ ..] = words else { return None };
    if groups.len() != usize::from(u16::from_be_bytes(*count)) {
        return None;
    }
    let weight = i32::from(i16::from_be_bytes(*weight));
    let scale = usize::from(u16::from_be_bytes(*scale));
    let mut text = match u16::from_be_bytes(*sign) {
        0 => String::new(),
        NEGATIVE => "-".to_owned(),
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("infinity".to_owned()),
        MINUS_INFINITY => return Some("-infinity".to_owned()),
        _ => return None,
    };
    let group = |at: i32| {
        let index = usize::try_from(weight - at).ok();
        index.and_then(|index| groups.get(index)).map_or(0, |group| u16::from_be_bytes(*group))
    };
    let whole: String = (0..=weight).rev().map(|at| format!("{:04}", group(at))).collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=groups).map(|at| format!("{:04}", group(-at))).collect();
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        let long = format!("{}.{}", "9".repeat(101), "123456789".repeat(7));
        let table = [
            "0",
            "0.00",
            "1",
            "-1",
            "10000",
            "99999999",
            "19.90",
            "-0.0001",
            "0.00000001",
            "0.1",
            "123456789012345678901234567890.000000000000000001",
            "-9223372036854775808",
            "NaN",
            "infinity",
            "-infinity",
            &long,
        ];
        for text in table {
            let bytes = write(text).unwrap();
            assert_eq!(read(&bytes).as_deref(), Some(text));
        }
        assert_eq!(write("7").unwrap(), [0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(write("12345.678").unwrap()[..8], [0, 3, 0, 1, 0, 0, 0, 3]);
        assert_eq!(write("1x"), None);
        assert_eq!(read(&[0, 1]), None);
    }
}
