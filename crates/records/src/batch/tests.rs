//! Good records beside bad ones.

use super::{BatchError, Observed, Prepared};
use crate::rejection::Reason;
use crate::timestamp::Timestamp;
use crate::validate::{Limits, Validator};

fn batch(input: impl AsRef<[u8]>) -> Prepared {
    let mut validator = Validator::default();
    validator
        .batch(input.as_ref(), Observed::Unsaid, None)
        .unwrap()
}

fn told(prepared: &Prepared) -> (Vec<String>, Vec<(u32, Reason)>) {
    let good = prepared.records();
    let good = good.map(|(record, _)| String::from_utf8(record.to_vec()).unwrap());
    let bad = prepared.rejections().records.iter();
    (
        good.collect(),
        bad.map(|bad| (bad.index, bad.reason)).collect(),
    )
}

#[test]
fn one_many_and_an_array_are_the_same() {
    for input in [
        "[{\"a\":1},{\"b\":[]}]",
        "{\"a\":1}\n{\"b\":[]}\n",
        "\u{feff}{\"a\": 1} {\"b\": [ ]}",
        "{\n  \"a\": 1\n}\n{\n  \"b\": [\n  ]\n}\n",
    ] {
        let (good, bad) = told(&batch(input));
        assert_eq!(good, ["{\"a\":1}", "{\"b\":[]}"], "{input}");
        assert_eq!(bad, []);
    }
    for nothing in ["", " \n", "[]", " [ ] "] {
        assert_eq!(told(&batch(nothing)), (Vec::new(), Vec::new()));
    }
}

#[test]
fn a_bad_line_costs_its_neighbours_nothing() {
    let input = b"{\"n\":1}\n{\"n\":NaN}\ngarbage\n{\"n\":\n{\"n\":2}\n{\"s\":\"\xff\"}\n{\"n\":3} x\n{\"n\":4}\n{\"n\":5";
    let (good, bad) = told(&batch(input));
    assert_eq!(good, [1, 2, 3, 4].map(|n| format!("{{\"n\":{n}}}")));
    let reasons: Vec<_> = bad.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(bad.len(), 6, "{bad:?}");
    assert_eq!(reasons[0], Reason::BadNumber);
    assert_eq!(reasons[5], Reason::UnexpectedEnd);
}

#[test]
fn a_bad_element_costs_its_neighbours_nothing() {
    let input = r#"[{"n":1},{"n":[NaN,{"x":"]}"}]},7,{"n":2},{"a":1,"a":2} {"n":3},{"n":4},]"#;
    let (good, bad) = told(&batch(input));
    assert_eq!(good, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":4}"#]);
    let expected = [
        (1, Reason::BadNumber),
        (2, Reason::NotAnObject),
        (4, Reason::DuplicateKey),
        (6, Reason::Syntax),
    ];
    assert_eq!(bad, expected);
    let (good, bad) = told(&batch(r#"[{"n":1},{"n":"#));
    assert_eq!((good.len(), bad), (1, vec![(1, Reason::UnexpectedEnd)]));
    let (good, bad) = told(&batch(r#"[{"n":1}"#));
    assert_eq!((good.len(), bad), (1, vec![(1, Reason::UnexpectedEnd)]));
    let (good, bad) = told(&batch(r#"[{"n":1}] {"n":2}"#));
    assert_eq!((good.len(), bad), (1, vec![(1, Reason::Syntax)]));
}

#[test]
fn a_bad_record_over_several_lines_is_one() {
    let input = "{\n  \"a\": tru\n}\n{\n  \"b\": 1\n}\n";
    let (good, bad) = told(&batch(input));
    assert_eq!(good, [r#"{"b":1}"#]);
    assert_eq!(bad, [(0, Reason::Syntax)]);
}

#[test]
fn the_place_of_a_flaw_is_told() {
    let place = |input: &str| {
        let prepared = batch(input);
        let first = prepared.rejections().records[0].clone();
        (first.field, first.message)
    };
    let (field, message) = place(r#"{"a":{"b/c":[1,{"d":"\x"}]}}"#);
    assert_eq!(field, "/a/b~1c/1/d");
    assert!(
        message.contains("escape") && message.ends_with("byte 21 of the record"),
        "{message}"
    );
    assert_eq!(place(r#"{"a":1,"b":{"x":1,"\u0078":2}}"#).0, "/b/\\u0078");
    assert_eq!(place("[1]").0, "");
}

#[test]
fn observed_times_stay_with_their_records() {
    let at = Timestamp::from_micros;
    let mut validator = Validator::default();
    let times = [at(1), at(2), at(3)];
    let input = b"{\"a\":1}\n!\n{\"a\":3}\n{\"a\":4}\n";
    let prepared = validator
        .batch(input, Observed::Each(&times), None)
        .unwrap();
    let observed: Vec<_> = prepared.records().map(|(_, observed)| observed).collect();
    assert_eq!(observed, [Some(at(1)), Some(at(3)), None]);
}

#[test]
fn limits_of_a_batch_refuse_it() {
    let limits = Limits {
        batch_records: 2,
        batch_bytes: 64,
        ..Limits::default()
    };
    let mut validator = Validator::new(limits);
    let mut refused = |input: &str| {
        validator
            .batch(input.as_bytes(), Observed::Unsaid, None)
            .err()
    };
    assert_eq!(refused("{}{}"), None);
    assert_eq!(
        refused("{}{}!"),
        Some(BatchError::TooManyRecords { max: 2 })
    );
    let long = " ".repeat(65);
    assert_eq!(
        refused(&long),
        Some(BatchError::TooManyBytes { bytes: 65, max: 64 })
    );
}
