"""Engine, sessions, schema migrations and bulk transfer by columns."""
