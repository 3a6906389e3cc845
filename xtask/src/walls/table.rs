//! The table the walls are built from. A change here is a change of the architecture.

/// A workspace crate and the workspace crates it may import.
#[derive(Debug)]
pub(super) struct Room {
    /// Package name.
    pub(super) name: &'static str,
    /// What its normal dependencies may name.
    pub(super) imports: &'static [&'static str],
}

/// Every crate of the workspace.
pub(super) const ROOMS: &[Room] = &[
    Room {
        name: "legwork-shim",
        imports: &[],
    },
    Room {
        name: "legwork-jobs",
        imports: &["legwork-shim"],
    },
    Room {
        name: "legwork-sync",
        imports: &[],
    },
    Room {
        name: "legwork-records",
        imports: &[],
    },
    Room {
        name: "legwork-processes",
        imports: &[],
    },
    Room {
        name: "legwork-identity",
        imports: &[],
    },
    Room {
        name: "legwork-proto",
        imports: &[],
    },
    Room {
        name: "legwork-client",
        imports: &[
            "legwork-identity",
            "legwork-proto",
            "legwork-records",
            "legwork-sync",
        ],
    },
    Room {
        name: "legwork-server",
        imports: &[
            "legwork-identity",
            "legwork-jobs",
            "legwork-processes",
            "legwork-records",
            "legwork-sync",
            "legwork-proto",
        ],
    },
    Room {
        name: "legwork",
        imports: &[
            "legwork-shim",
            "legwork-identity",
            "legwork-jobs",
            "legwork-processes",
            "legwork-records",
            "legwork-sync",
            "legwork-identity",
            "legwork-proto",
            "legwork-client",
            "legwork-server",
        ],
    },
    Room {
        name: "testkit",
        imports: &[
            "legwork-shim",
            "legwork-jobs",
            "legwork-processes",
            "legwork-records",
            "legwork-sync",
            "legwork-identity",
            "legwork-proto",
            "legwork-client",
            "legwork-server",
        ],
    },
    Room {
        name: "xtask",
        imports: &[],
    },
];

const BINARY: &[&str] = &["legwork"];
const WIRE: &[&str] = &[
    "legwork-proto",
    "legwork-client",
    "legwork-server",
    "legwork",
    "testkit",
];
const IDENTITY: &[&str] = &["legwork-identity"];
const ASYNC: &[&str] = &[
    "legwork-jobs",
    "legwork-client",
    "legwork-server",
    "legwork",
    "testkit",
];

/// Packages that belong to few crates: name, owners, and the reason.
pub(super) const RESTRICTED: &[(&str, &[&str], &str)] = &[
    ("clap", BINARY, "argv belongs to the binary"),
    ("clap_complete", BINARY, "argv belongs to the binary"),
    (
        "anyhow",
        BINARY,
        "libraries have errors that can be matched",
    ),
    ("indicatif", BINARY, "a library never draws on a terminal"),
    ("toml", BINARY, "configuration files belong to the binary"),
    (
        "rusqlite",
        &["legwork-jobs", "legwork-identity"],
        "the index belongs to the jobs library, identities to theirs",
    ),
    (
        "ignore",
        &["legwork-sync"],
        "walking trees belongs to the mirror library",
    ),
    (
        "jsonschema",
        &["legwork-records"],
        "records are validated in one place",
    ),
    ("rcgen", IDENTITY, "certificates are made in one place"),
    (
        "x509-parser",
        IDENTITY,
        "certificates are read in one place",
    ),
    ("ring", IDENTITY, "cryptography is used in one place"),
    ("rustls", IDENTITY, "TLS is configured in one place"),
    (
        "rustls-native-certs",
        IDENTITY,
        "TLS is configured in one place",
    ),
    ("tonic", WIRE, "domain crates do not know the wire"),
    ("tonic-prost", WIRE, "domain crates do not know the wire"),
    ("tonic-types", WIRE, "domain crates do not know the wire"),
    ("prost", WIRE, "domain crates do not know the wire"),
    ("prost-types", WIRE, "domain crates do not know the wire"),
    ("hyper", WIRE, "domain crates do not know the wire"),
    ("hyper-util", WIRE, "domain crates do not know the wire"),
    ("http", WIRE, "domain crates do not know the wire"),
    ("tower", WIRE, "domain crates do not know the wire"),
    (
        "tokio",
        ASYNC,
        "the shim and the libraries of mirror, records and identity are synchronous",
    ),
    (
        "libc",
        &["legwork-shim", "legwork-sync"],
        "raw system calls live behind the safe layers of shim and sync",
    ),
    ("cargo_metadata", &["xtask"], "a tool of the workspace"),
];

/// Packages that only generate code, and the one crate whose build may use them.
pub(super) const BUILD_ONLY: &[(&str, &str)] = &[
    ("protox", "legwork-proto"),
    ("prost-build", "legwork-proto"),
    ("tonic-prost-build", "legwork-proto"),
];

/// Crates whose external imports are all listed, because somebody has to be able to audit them.
pub(super) const WHOLE_BUDGET: &[(&str, &[&str])] = &[(
    "legwork-shim",
    &[
        "base64",
        "libc",
        "rustix",
        "serde",
        "serde_json",
        "thiserror",
        "uuid",
    ],
)];
