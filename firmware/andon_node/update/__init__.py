"""Updates: a signed bundle from the gateway into the spare slot, on trial, confirmed or given up."""
