"""A compiled pipeline, run on this machine as KFP's launcher would."""
