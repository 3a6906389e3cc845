//! What is taken for a secret.

/// A name that has one of these in it, written in small letters and with `-` and `.` as `_`, names a secret.
pub(super) const NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "api_key",
    "accesskey",
    "access_key",
    "secretkey",
    "privatekey",
    "private_key",
    "encryption_key",
    "signing_key",
    "account_key",
    "auth_key",
    "authkey",
    "credential",
    "connection_string",
    "bearer",
];

/// A name that is one of these, or ends with `_` and one of these, names a secret.
pub(super) const WORDS: &[&str] = &[
    "pass",
    "pwd",
    "psk",
    "pin",
    "auth",
    "authorization",
    "cookie",
    "sig",
    "signature",
    "session_id",
    "dsn",
];

/// A name that is one of these names none, whatever else is said here.
pub(super) const HARMLESS: &[&str] = &["pwd", "oldpwd", "no_auth", "enable_auth"];

/// A name that ends with one of these names where a secret is, or something about it.
pub(super) const ABOUT: &[&str] = &[
    "file", "path", "dir", "fd", "stdin", "command", "cmd", "prompt", "url", "uri", "endpoint",
    "type", "name", "id_file", "ttl", "timeout", "length", "env", "policy", "helper", "method",
    "mode", "expiry", "expires", "store", "provider", "audience", "issuer",
];

/// How programs are given secrets by short options. The option is at the beginning of a word, and the secret behind it, or in the next word.
pub(super) const PROGRAMS: &[(&[&str], &[&str])] = &[
    (
        &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mysqlshow",
            "mysqlslap",
            "mysqlbinlog",
            "mysqlpump",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-import",
            "mariadb-check",
            "mariadb-backup",
            "xtrabackup",
            "mytop",
        ],
        &["-p"],
    ),
    (&["sshpass"], &["-p"]),
    (
        &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
        ],
        &["-p"],
    ),
    (
        &[
            "docker", "podman", "nerdctl", "helm", "skopeo", "buildah", "oc", "az",
        ],
        &["-p"],
    ),
    (
        &["curl"],
        &["-u", "-U", "--user", "--proxy-user", "-b", "--cookie"],
    ),
    (&["http", "https", "xh"], &["-a"]),
    (
        &[
            "ldapsearch",
            "ldapadd",
            "ldapmodify",
            "ldapdelete",
            "ldappasswd",
            "ldapwhoami",
            "ldapcompare",
        ],
        &["-w", "-s"],
    ),
    (
        &["smbclient", "rpcclient", "net", "smbget", "wmic"],
        &["-U"],
    ),
    (&["redis-cli", "valkey-cli"], &["-a"]),
    (&["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"], &["-P"]),
    (&["sqlcmd", "bcp", "isql", "tsql", "fisql"], &["-P"]),
    (&["zip", "unzip", "zipcloak"], &["-P"]),
    (&["7z", "7za", "7zr", "rar", "unrar"], &["-p"]),
    (&["openssl"], &["-pass", "-passin", "-passout", "-k", "-K"]),
    (&["xfreerdp", "xfreerdp3", "wlfreerdp"], &["/p:"]),
    (&["rdesktop"], &["-p"]),
    (&["ipmitool"], &["-P"]),
    (
        &["snmpget", "snmpwalk", "snmpset", "snmpbulkwalk"],
        &["-c", "-A", "-X"],
    ),
    (&["wpa_passphrase", "htpasswd"], &["-b"]),
    (&["kadmin"], &["-w"]),
    (&["clickhouse-client"], &["--password"]),
    (&["lftp", "ncftp", "ncftpget", "ncftpput"], &["-u", "-p"]),
    (&["vncpasswd", "x11vnc"], &["-passwd"]),
];

/// How tokens of well-known makers begin, and how many letters, digits, `_` and `-` are behind that at least.
pub(super) const TOKENS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("xapp-", 16),
    ("sk-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("AIza", 30),
    ("npm_", 30),
    ("pypi-", 40),
    ("hvs.", 20),
    ("dop_v1_", 30),
    ("SG.", 30),
    ("lw1.", 20),
];
