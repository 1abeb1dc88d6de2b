"""The campaign that tries to break what is promised: `just torture`, and docs/reliability.md."""
