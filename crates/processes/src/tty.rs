//! The names of terminals, by their device numbers.

/// What `ps` calls it; empty for none.
pub(crate) fn name(device: i32) -> String {
    let device = device.cast_unsigned();
    if device == 0 {
        return String::new();
    }
    // As proc(5) has it.
    let major = device >> 8 & 0xfff;
    let minor = device & 0xff | device >> 12 & 0xfff00;
    match (major, minor) {
        (4, 0..64) => format!("tty{minor}"),
        (4, _) => format!("ttyS{}", minor - 64),
        (5, 1) => "console".to_owned(),
        (136..=143, _) => format!("pts/{}", ((major - 136) << 8) + minor),
        (188, _) => format!("ttyUSB{minor}"),
        (204, 64..68) => format!("ttyAMA{}", minor - 64),
        (229, _) => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn terminals_have_their_names() {
        for (device, expected) in [
            (0, ""),
            (34816, "pts/0"),
            (34823, "pts/7"),
            (136 << 8 | 44 | 1 << 20, "pts/300"),
            (1025, "tty1"),
            (4 << 8 | 64, "ttyS0"),
            (229 << 8, "hvc0"),
            (7 << 8 | 3, "7:3"),
        ] {
            assert_eq!(name(device), expected);
        }
        assert!(!name(-1).is_empty());
    }
}
