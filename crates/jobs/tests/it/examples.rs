//! The examples do what they say.

#[path = "../../examples/all.rs"]
mod all;

#[tokio::test]
async fn everything_once() {
    let state = tempfile::tempdir().unwrap();
    all::show(&state.path().join("state")).await.unwrap();
}
