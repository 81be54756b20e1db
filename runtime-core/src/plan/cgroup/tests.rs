//! Plans from config.json's text on hosts of each kind.
