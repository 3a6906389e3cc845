//! Goal: standard input that is sent over connections that break arrives once and in order.

use bytes::Bytes;
use legwork_client::{JobSpec, Stdin};
use testkit::Direction;

use crate::support::{Far, drain, follow, sh};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_arrive_once_over_cut_connections() {
    let far = Far::start();
    let spec = JobSpec {
        stdin: Stdin::Pipe,
        ..sh("cat")
    };
    let id = spec.id.to_string();
    let direct = far.host.client().await;
    direct.start(&spec).await.unwrap();

    let sent: Vec<u8> = (0..400_000_u32).flat_map(u32::to_be_bytes).collect();
    // Connections that break within what we say, and within what the server answers.
    for count in 0..12 {
        far.relay.cut_next(Direction::Up, 30_000 + 17_001 * count);
        far.relay.cut_next(Direction::Down, 150 + 11 * count);
    }
    let client = far.client().await;
    let mut input = client.input(&id).await.unwrap();
    for block in sent.chunks(50_000) {
        assert!(input.write(Bytes::copy_from_slice(block)).await.unwrap());
    }
    input.end().await.unwrap();
    assert!(far.relay.connections() > 10);
    let (echoed, code) = drain(&mut direct.logs(&id, follow()).await.unwrap()).await;
    assert!(echoed == sent && code == 0);
}
