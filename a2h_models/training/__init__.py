"""The three trainings as LightningModules: thin skins around built networks and pure losses."""
