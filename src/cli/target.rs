//! What commands for people and programs alike have in common: where the stock is, and how the result is told.

use crate::config::DataFolder;

#[derive(clap::Args, Debug)]
pub struct Target {
    #[command(flatten)]
    pub data: DataFolder,

    /// A running service, instead of the data folder
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Prints what came of it as JSON
    #[arg(long)]
    pub json: bool,
}
