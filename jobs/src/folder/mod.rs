//! Reading a pipeline from its folder: `pipeline.yaml` and SQL files with YAML headers.
//! `docs/pipelines.md` is the specification of both.

mod checks;
mod header;
mod settings;
mod values;
mod yaml;

use std::path::{Path, PathBuf};

pub(crate) use yaml::nearest;

use crate::dag::Dag;
use crate::definition::{JobDefinition, Pipeline};
use crate::error::{JobsError, Result};

/// Name of the file with the pipeline's own settings.
pub const PIPELINE_FILE: &str = "pipeline.yaml";

/// A file of a pipeline's folder, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineFile {
    /// Path in the folder, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A folder of SQL files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineFolder {
    folder: PathBuf,
    files: Vec<PipelineFile>,
}

impl PipelineFolder {
    /// Reads a pipeline from its folder and checks it: settings, headers, statements,
    /// and that jobs can be brought into an order.
    ///
    /// # Errors
    /// `Io` naming the file; `InvalidFile` with line and column; `InvalidPipeline` and
    /// `Cycle` for what is wrong between files.
    pub fn load(folder: impl AsRef<Path>) -> Result<Pipeline> {
        Self::read(folder)?.pipeline()
    }

    /// Reads the files of a folder and those below it: `pipeline.yaml` and `*.sql`.
    /// Names that begin with a dot are left alone.
    ///
    /// # Errors
    /// `Io` naming the file or folder.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let mut files = Vec::new();
        read_folder(folder, "", &mut files)?;
        Ok(Self::from_files(folder, files))
    }

    /// A pipeline whose files are in memory already; `folder` is for messages and for the
    /// pipeline's name.
    pub fn from_files(folder: impl Into<PathBuf>, mut files: Vec<PipelineFile>) -> Self {
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Self {
            folder: folder.into(),
            files,
        }
    }

    /// The pipeline that the files describe.
    ///
    /// # Errors
    /// As for `load`.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let settings_file = self.files.iter().find(|file| file.path == PIPELINE_FILE);
        let settings_text = settings_file.map_or("", |file| file.text.as_str());
        let settings_path = self.folder.join(PIPELINE_FILE);
        let settings = settings::parse(&settings_path, settings_text)?;
        let mut pipeline = settings.into_pipeline(&self.folder)?;
        for file in &self.files {
            if file.path == PIPELINE_FILE {
                continue;
            }
            let path = self.folder.join(&file.path);
            pipeline
                .jobs
                .push(header::parse_job(&path, file, &pipeline)?);
        }
        check_names(&pipeline)?;
        // Fails for circles and for unknown names in `depends_on`.
        Dag::of(&pipeline)?;
        Ok(pipeline)
    }
}

fn check_names(pipeline: &Pipeline) -> Result<()> {
    if pipeline.jobs.is_empty() {
        return Err(JobsError::InvalidPipeline {
            pipeline: pipeline.name.clone(),
            message: "there is no .sql file in its folder".to_string(),
        });
    }
    let mut jobs: Vec<&JobDefinition> = pipeline.jobs.iter().collect();
    jobs.sort_by(|left, right| left.name.cmp(&right.name));
    for pair in jobs.windows(2) {
        if let [first, second] = pair
            && first.name == second.name
        {
            return Err(JobsError::InvalidPipeline {
                pipeline: pipeline.name.clone(),
                message: format!(
                    "{} and {} are both called {}: give one of them another name",
                    first.file, second.file, first.name
                ),
            });
        }
    }
    Ok(())
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<PipelineFile>) -> Result<()> {
    let io_error = |path: &Path| {
        let path = path.to_path_buf();
        move |source| JobsError::Io { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(io_error(folder))? {
        let entry = entry.map_err(io_error(folder))?;
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_string) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        // Follows links, as people who keep shared models elsewhere expect.
        let metadata = std::fs::metadata(&path).map_err(io_error(&path))?;
        if metadata.is_dir() {
            read_folder(&path, &format!("{prefix}{name}/"), files)?;
        } else if name.ends_with(".sql") || (prefix.is_empty() && name == PIPELINE_FILE) {
            let text = std::fs::read_to_string(&path).map_err(io_error(&path))?;
            let path = format!("{prefix}{name}");
            files.push(PipelineFile { path, text });
        } else if prefix.is_empty() && name == "pipeline.yml" {
            return Err(JobsError::InvalidFile {
                path,
                line: 1,
                column: 1,
                message: "the settings of a pipeline are in pipeline.yaml: rename this file"
                    .to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
