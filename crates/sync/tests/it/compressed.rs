//! Content that is compressed on its way, and frames that claim to be.

use bytes::Bytes;
use legwork_sync::message::{Data, MAX_FRAME, Packing, Refusal, Up};
use legwork_sync::pull;
use legwork_sync::push::{Compress, Options, Pushed};

use crate::hostile::{data, end, offered, refused};
use crate::support::{Bench, Tree, kinds, noise, tapped_with, to_the_first_version};

fn pushed(bench: &Bench, compress: Compress) -> (Pushed, Vec<Up>) {
    let options = Options {
        compress,
        ..bench.options()
    };
    let (pushed, seen) = tapped_with(bench, &options, |_, _| {});
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    (pushed.unwrap(), seen)
}

fn packed(messages: &[Up]) -> usize {
    let packed = |message: &&Up| matches!(message, Up::Data(data) if data.packing == Packing::Zstd);
    messages.iter().filter(packed).count()
}

fn text(bench: &Bench) {
    for file in 0..300 {
        bench.write(
            &format!("d{}/{file}", file % 9),
            &format!("a line of {file}\n").repeat(200),
        );
    }
    bench.write("large", &"more than a frame holds ".repeat(60_000));
}

#[test]
fn text_is_compressed_and_arrives_as_it_was() {
    let bench = Bench::new();
    text(&bench);
    let (sent, seen) = pushed(&bench, Compress::Zstd);
    assert!(sent.wire_bytes < sent.sent_bytes / 10, "{sent:?}");
    assert_eq!(packed(&seen), kinds(&seen).matches('D').count());
    for compress in [Compress::Nothing, Compress::Near] {
        let bench = Bench::new();
        text(&bench);
        let (sent, seen) = pushed(&bench, compress);
        assert_eq!((sent.wire_bytes, packed(&seen)), (sent.sent_bytes, 0));
    }
}

#[test]
fn what_does_not_get_smaller_is_sent_as_it_is() {
    let bench = Bench::new();
    std::fs::write(bench.source.join("noise"), noise(3 << 20, 1)).unwrap();
    let (sent, seen) = pushed(&bench, Compress::Zstd);
    assert_eq!((sent.wire_bytes, packed(&seen)), (3 << 20, 0));
}

#[test]
fn an_edit_is_compressed_without_waiting_to_be_told_that_the_server_can() {
    let bench = Bench::new();
    bench.write("a", "1");
    pushed(&bench, Compress::Zstd);
    text(&bench);
    let (sent, seen) = pushed(&bench, Compress::Zstd);
    assert!(packed(&seen) > 0 && sent.wire_bytes < sent.sent_bytes / 10);
    assert!(!kinds(&seen).contains('R'));
}

#[test]
fn an_older_server_is_sent_nothing_compressed() {
    let bench = Bench::new();
    text(&bench);
    let (sent, seen) = to_the_first_version(&bench);
    assert_eq!(sent.unwrap().summary.written.total, 310);
    assert_eq!(packed(&seen), 0);
}

fn zstd(content: &[u8]) -> Bytes {
    zstd::bulk::compress(content, 3).unwrap().into()
}

/// A frame that says it has `len` bytes for each of two files.
fn frame(len: u32, bytes: Bytes) -> Up {
    let Up::Data(plain) = data(&[(0, 0, len), (1, 0, len)], b"") else {
        panic!("not data")
    };
    Up::Data(Data {
        packing: Packing::Zstd,
        bytes,
        ..plain
    })
}

#[test]
fn a_frame_that_is_not_what_it_says_is_refused_and_not_unpacked() {
    let bomb = zstd(&vec![0; 64 << 20]);
    assert!(bomb.len() < 16 << 10);
    for bytes in [
        bomb,
        zstd(b"12345"),
        zstd(b"123"),
        zstd(b""),
        Bytes::new(),
        Bytes::from_static(b"1234"),
        zstd(b"1234").slice(..8),
    ] {
        let refusal = refused(vec![offered(), frame(2, bytes.clone()), end()]);
        assert!(
            matches!(refusal, Refusal::Protocol { .. }),
            "{bytes:?}: {refusal}"
        );
    }
    // And one that says honestly what it is.
    let huge = frame(1 << 30, zstd(&vec![0; 64 << 20]));
    assert!(matches!(
        refused(vec![offered(), huge]),
        Refusal::TooMuch { .. }
    ));
    let wide = frame(2, vec![0; MAX_FRAME + 1].into());
    assert!(matches!(
        refused(vec![offered(), wide]),
        Refusal::TooMuch { .. }
    ));
}

#[test]
fn what_is_pulled_is_compressed_where_that_is_asked_for() {
    let bench = Bench::new();
    for file in 0..300 {
        bench.job_write(
            &format!("out/{file}"),
            &format!("a line of {file}\n").repeat(200),
        );
    }
    bench.job_write("out/large", &"more than a frame holds ".repeat(60_000));
    for (compress, packed) in [
        (Compress::Nothing, false),
        (Compress::Near, false),
        (Compress::Auto, true),
        (Compress::Zstd, true),
    ] {
        let into = bench.temp.path().join(format!("{compress:?}"));
        std::fs::create_dir(&into).unwrap();
        let options = pull::Options {
            globs: vec!["out".to_owned()],
            compress,
            ..pull::Options::default()
        };
        let pulled = bench.pull_to(&into, &options).unwrap();
        assert_eq!(pulled.written.len(), 301);
        assert_eq!(bench.tree(), Tree::of(&into));
        if packed {
            assert!(pulled.wire_bytes < pulled.written_bytes / 10, "{pulled:?}");
        } else {
            assert_eq!(pulled.wire_bytes, pulled.written_bytes);
        }
    }
}

#[test]
fn noise_is_pulled_as_it_is() {
    let bench = Bench::new();
    let path = bench.workspace.tree().join("noise");
    std::fs::write(path, noise(3 << 20, 1)).unwrap();
    let into = bench.temp.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let options = pull::Options {
        globs: vec!["noise".to_owned()],
        compress: Compress::Zstd,
        ..pull::Options::default()
    };
    let pulled = bench.pull_to(&into, &options).unwrap();
    assert_eq!((pulled.wire_bytes, pulled.written.len()), (3 << 20, 1));
}
