use std::sync::OnceLock;

/// The variant of `op` that the environment variable `FQGAN_KERNEL` asks for, read once a process:
/// `conv2d:direct,linear:naive` names one for each of some operations. For tests and benches.
pub fn forced_variant(op: &str) -> Option<&'static str> {
    static FORCED: OnceLock<String> = OnceLock::new();
    let all = FORCED.get_or_init(|| std::env::var("FQGAN_KERNEL").unwrap_or_default());
    find(all, op)
}

fn find<'a>(all: &'a str, op: &str) -> Option<&'a str> {
    all.split(',')
        .filter_map(|entry| entry.trim().split_once(':'))
        .find(|(name, _)| *name == op)
        .map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn one_entry_an_operation() {
        let all = "conv2d:direct, linear:naive,odd";
        assert_eq!(find(all, "conv2d"), Some("direct"));
        assert_eq!(find(all, "linear"), Some("naive"));
        assert_eq!(find(all, "odd"), None);
        assert_eq!(find("", "conv2d"), None);
    }
}
