//! A blob on its way into the store, and what is told of it.

use crate::document::Descriptor;
use crate::error::Result;
use crate::progress::{Event, Progress, Work};
use crate::store::Writer;

/// Writes a blob from its beginning: `pieces` hands its bytes over. Nothing of it is kept if
/// that fails.
pub(super) fn write_blob(
    mut writer: Box<Writer>,
    descriptor: &Descriptor,
    progress: &dyn Progress,
    pieces: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let (digest, work) = (&descriptor.digest, Work::Copy);
    writer.restart()?;
    progress.report(Event::Began {
        digest,
        work,
        total: Some(descriptor.size),
        done: 0,
    });
    let written = pieces(&mut |piece| {
        writer.append(piece)?;
        progress.report(Event::Advanced {
            digest,
            work,
            bytes: piece.len() as u64,
        });
        Ok(())
    });
    if let Err(error) = written {
        writer.discard();
        return Err(error);
    }
    writer.commit()?;
    progress.report(Event::Ended { digest, work });
    Ok(())
}
