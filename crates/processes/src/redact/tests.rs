//! What is taken for a secret, and what is not.

use proptest::prelude::{any, proptest};

use super::{cmdline, plain};

/// Words, as a shell would cut them at `|`.
fn redacted(words: &str) -> String {
    cmdline(format!("{}\0", words.replace('|', "\0")).as_bytes())
}

/// Each has the secret `S3CR3T`, which must not be left, and words that must.
const SECRETS: &[(&str, &str)] = &[
    ("x|--password=S3CR3T|-v", "x --password=*** -v"),
    ("x|--password=S3CR3T and S3CR3T|-v", "x --password=*** -v"),
    ("x|--password|S3CR3T|-v", "x --password *** -v"),
    ("x|-password|S3CR3T", "x -password ***"),
    ("x|--db-pass|S3CR3T", "x --db-pass ***"),
    ("x|--api-key|S3CR3T", "x --api-key ***"),
    ("x|--API_KEY=S3CR3T", "x --API_KEY=***"),
    ("env|TOKEN=S3CR3T|make", "env TOKEN=*** make"),
    ("env|DB_PASS=S3CR3T|make", "env DB_PASS=*** make"),
    (
        "x|-e|AWS_SECRET_ACCESS_KEY=S3CR3T",
        "x -e AWS_SECRET_ACCESS_KEY=***",
    ),
    (
        "java|-Djavax.net.ssl.keyStorePassword=S3CR3T|-jar|a",
        "java -Djavax.net.ssl.keyStorePassword=*** -jar a",
    ),
    ("mysql|-pS3CR3T|db", "mysql -p*** db"),
    (
        "/usr/bin/mysqldump|-u|root|-p|S3CR3T|db",
        "/usr/bin/mysqldump -u root -p *** db",
    ),
    ("sudo|-u|x|mariadb|-pS3CR3T", "sudo -u x mariadb -p***"),
    ("sshpass|-p|S3CR3T|ssh|h", "sshpass -p *** ssh h"),
    ("curl|-u|me:S3CR3T|http://h/", "curl -u *** http://h/"),
    ("curl|--user=me:S3CR3T|h", "curl --user=*** h"),
    (
        "curl|-H|Authorization: Bearer S3CR3T|h",
        "curl -H Authorization: *** h",
    ),
    ("curl|-HX-Api-Key: S3CR3T|h", "curl -HX-Api-Key: *** h"),
    (
        "curl|-d|{\"user\": \"me\", \"password\": \"S3CR3T\"}|h",
        "curl -d {\"user\": \"me\", \"password\": \"***\"} h",
    ),
    (
        "curl|https://h/?a=1&token=S3CR3T&b=2",
        "curl https://h/?a=1&token=***&b=2",
    ),
    (
        "git|clone|https://me:S3CR3T@h/r.git",
        "git clone https://me:***@h/r.git",
    ),
    (
        "x|postgres://me:S3CR3T@h:5432/db?ssl=1",
        "x postgres://me:***@h:5432/db?ssl=1",
    ),
    ("redis-cli|-a|S3CR3T|ping", "redis-cli -a *** ping"),
    ("ldapsearch|-w|S3CR3T|-x", "ldapsearch -w *** -x"),
    ("openssl|enc|-pass|pass:S3CR3T", "openssl enc -pass ***"),
    (
        "docker|login|-u|me|-p|S3CR3T|h",
        "docker login -u me -p *** h",
    ),
    (
        "sh|-c|mysql -u root -p S3CR3T db; ls",
        "sh -c mysql -u root -p *** db; ls",
    ),
    (
        "sh|-c|PGPASSWORD=S3CR3T psql -h h",
        "sh -c PGPASSWORD=*** psql -h h",
    ),
    (
        "sh|-c|export TOKEN='S3CR3T x'; y",
        "sh -c export TOKEN='***'; y",
    ),
    (
        "sh|-c|x --password S3CR3T | y",
        "sh -c x --password ***   y",
    ),
    (
        "sh|-c|curl -H 'Authorization: Basic S3CR3T' h",
        "sh -c curl -H 'Authorization: ***' h",
    ),
    (
        "x: worker --password=S3CR3T -v",
        "x: worker --password=*** -v",
    ),
    ("xfreerdp|/u:me|/p:S3CR3T", "xfreerdp /u:me /p:***"),
];

#[test]
fn secrets_are_left_out() {
    for (words, expected) in SECRETS {
        // A space in a pipe of a shell is none of ours.
        let shown = redacted(words);
        assert!(!shown.contains("S3CR3T"), "{words}: {shown}");
        assert_eq!(
            shown.replace("   ", " "),
            expected.replace("   ", " "),
            "{words}"
        );
    }
}

#[test]
fn tokens_are_known_by_their_looks() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    for token in [
        jwt,
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        "glpat-0123456789abcdefghij",
        concat!("-----BEGIN RSA PRIVATE", " KEY-----\nabc"),
    ] {
        assert_eq!(redacted(&format!("x|{token}|y")), "x *** y");
        assert_eq!(redacted(&format!("x|--at={token}")), "x --at=***");
    }
}

#[test]
fn the_rest_is_left_alone() {
    for words in [
        "x|--password-file=/etc/x|--token-ttl=5m",
        "x|--password-stdin|y",
        "env|PWD=/srv/x|OLDPWD=/|y",
        "ls|-p|dir",
        "mkdir|-p|a/b",
        "ssh|-p|22|me@host",
        "python3|-u|x.py",
        "x|http://host:80/a@b|user@host",
        "x|--compass=north|--bypass=1|--author=me",
        "postgres: walwriter",
        "x|a:b:c|k=v|--flag",
        "sh|-c|for i in 1 2; do echo $i; done",
        "x|--password",
        "x|--password=",
        "",
    ] {
        assert_eq!(
            redacted(words),
            plain(format!("{}\0", words.replace('|', "\0")).as_bytes())
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    assert_eq!(cmdline(b"x\0\xff\xfe\0"), "x \u{fffd}\u{fffd}");
    assert_eq!(cmdline(b""), "");
    assert_eq!(cmdline(b"\0\0"), "");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(raw in any::<Vec<u8>>()) {
        cmdline(&raw);
    }

    #[test]
    fn no_words_are_too_strange(raw in "[-=:@/ '\"apst\\.\u{e4}eyJkn\0]{0,40}") {
        cmdline(raw.as_bytes());
    }

    #[test]
    fn a_password_never_survives(secret in "[a-zA-Z0-9!$%^*+./~][a-zA-Z0-9 !$%^*=+./:~@-]{6,20}") {
        let shown = cmdline(format!("tool\0--password={secret}\0--password\0{secret}\0end\0").as_bytes());
        assert_eq!(shown, "tool --password=*** --password *** end");
    }
}
