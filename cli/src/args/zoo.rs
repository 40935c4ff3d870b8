use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ZooCommand {
    /// Every architecture, what it costs as counted here and as reported, and the reported errors.
    List {
        /// Print the table as Markdown.
        #[arg(long)]
        markdown: bool,
    },
    /// The genotype of an architecture, for `adwp cost` and `adwp retrain`; with --json, all that is known of it.
    Show {
        /// Its name in `adwp zoo list`.
        name: String,
        /// Cells [default: those it was published with for CIFAR-10, or else for ImageNet].
        #[arg(long)]
        cells: Option<usize>,
    },
}
