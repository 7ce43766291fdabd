//! Turns tapped packets into sealed case packages.
