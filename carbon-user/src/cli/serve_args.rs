//! The command line of `carbon serve`, as it is written.

use super::args::ListFormat;
use super::store::StoreArgs;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `carbon import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// An emissions.csv of `CodeCarbon`, of any version; `-` for standard input.
    #[arg(value_name = "FILE", required_unless_present = "from_server", conflicts_with = "from_server")]
    pub file: Option<PathBuf>,
    /// The URL of the API of `CodeCarbon`'s server, or of another `carbon serve`: organisations, projects, experiments, runs and all
    /// that was posted, under their ids.
    #[arg(long, value_name = "URL", requires = "token_file")]
    pub from_server: Option<String>,
    /// With --from-server: a file with a token that may read there.
    #[arg(long, value_name = "FILE", requires = "from_server")]
    pub token_file: Option<PathBuf>,
    /// With --from-server: a file with the certificates that the server's own is signed with, in PEM.
    #[arg(long, env = "CARBON_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Into this project of `carbon serve`; without it, into the ledger as runs of no team.
    #[arg(long, value_name = "ORGANISATION/PROJECT", conflicts_with_all = ["from_server", "organisation", "project", "experiment"])]
    pub into: Option<String>,
    /// The organisation that the runs are booked to.
    #[arg(long, value_name = "NAME")]
    pub organisation: Option<String>,
    /// The project, instead of that of each row.
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// The experiment, instead of that of each row.
    #[arg(long, value_name = "NAME")]
    pub experiment: Option<String>,
    /// Time zone of the file's times, which name none, such as Europe/Paris.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// The team's server that runs are sent to.
#[derive(Args, Clone, Debug, Default)]
pub struct ServerArgs {
    /// Send to this `carbon serve`, such as <https://carbon.example.org:8470>.
    #[arg(long, env = "CARBON_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// With --server: a file with a token of the project that may post.
    #[arg(long, env = "CARBON_SERVER_TOKEN_FILE", value_name = "FILE")]
    pub server_token_file: Option<PathBuf>,
    /// With --server: a file with the certificates that the server's own is signed with, in PEM.
    #[arg(long, env = "CARBON_CA_FILE", value_name = "FILE")]
    pub server_ca_file: Option<PathBuf>,
}

/// `carbon serve`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// Manages what is served, beside the server or without it.
    #[command(subcommand)]
    pub action: Option<ServeAction>,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8470")]
    pub listen: String,
    /// A file with the certificates that it is served with, in PEM: https.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// A file with the key of the first of them, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What can be managed.
#[derive(Clone, Debug, Subcommand)]
pub enum ServeAction {
    /// Who pays.
    #[command(subcommand)]
    Organisation(OrganisationAction),
    /// What for.
    #[command(subcommand)]
    Project(ProjectAction),
    /// Which question; clients can make them too.
    #[command(subcommand)]
    Experiment(ExperimentAction),
    /// People of an organisation.
    #[command(subcommand)]
    Member(MemberAction),
    /// What clients show.
    #[command(subcommand)]
    Token(TokenAction),
    /// A link by which everybody who has it sees a project.
    #[command(subcommand)]
    Share(ShareAction),
}

/// Of organisations.
#[derive(Clone, Debug, Subcommand)]
pub enum OrganisationAction {
    /// Make one.
    Add {
        /// Its name.
        name: String,
        /// In words.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List them.
    List {
        /// How the list is written.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Of projects.
#[derive(Clone, Debug, Subcommand)]
pub enum ProjectAction {
    /// Make one.
    Add {
        /// Its organisation and its name, as ORGANISATION/PROJECT.
        #[arg(value_name = "ORGANISATION/PROJECT")]
        project: String,
        /// In words.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List them.
    List {
        /// The organisation.
        organisation: String,
        /// How the list is written.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Of experiments.
#[derive(Clone, Debug, Subcommand)]
pub enum ExperimentAction {
    /// Make one.
    Add {
        /// Its project.
        #[arg(value_name = "ORGANISATION/PROJECT")]
        project: String,
        /// Its name.
        name: String,
        /// Its UUID [default: a new one].
        #[arg(long, value_name = "UUID")]
        id: Option<String>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List them.
    List {
        /// The project.
        #[arg(value_name = "ORGANISATION/PROJECT")]
        project: String,
        /// How the list is written.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Of members.
#[derive(Clone, Debug, Subcommand)]
pub enum MemberAction {
    /// Take somebody in, and print a token for all of the organisation, once.
    Add {
        /// The organisation.
        organisation: String,
        /// Such as an address.
        name: String,
        /// Manages it; without this, reads.
        #[arg(long)]
        admin: bool,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Let somebody go: the tokens of that member are no longer good.
    Remove {
        /// The organisation.
        organisation: String,
        /// As when added.
        name: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List them.
    List {
        /// The organisation.
        organisation: String,
        /// How the list is written.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// `--scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Looks.
    Read,
    /// Posts too.
    Write,
    /// Manages too.
    Admin,
}

/// Of tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenAction {
    /// Make one, and print it, once: its hash alone is kept.
    Add {
        /// The project, or an organisation for all of its projects.
        #[arg(value_name = "ORGANISATION[/PROJECT]")]
        whose: String,
        /// What it is good for.
        #[arg(long, value_enum, default_value_t = ScopeArg::Write)]
        scope: ScopeArg,
        /// What to call it.
        #[arg(long, value_name = "NAME", default_value = "token")]
        name: String,
        /// Take the token in this file instead of a new one, such as the one that clients have already: 16 characters or more.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Make one no longer good, from now on.
    Revoke {
        /// The organisation.
        organisation: String,
        /// The id of the token, as listed.
        id: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List them, without themselves.
    List {
        /// The organisation.
        organisation: String,
        /// How the list is written.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Of public links.
#[derive(Clone, Debug, Subcommand)]
pub enum ShareAction {
    /// Make a link and print it, once; one that was there before is no longer good.
    On {
        /// The project.
        #[arg(value_name = "ORGANISATION/PROJECT")]
        project: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Make it no longer good.
    Off {
        /// The project.
        #[arg(value_name = "ORGANISATION/PROJECT")]
        project: String,
        /// The ledger.
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// What lists share.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// The ledger.
    #[command(flatten)]
    pub store: StoreArgs,
}
