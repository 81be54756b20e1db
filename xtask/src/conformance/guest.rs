//! In virtual machines.

use crate::Error;

pub(crate) fn command(_arguments: &[String]) -> Result<bool, Error> {
    Err("soon".into())
}
