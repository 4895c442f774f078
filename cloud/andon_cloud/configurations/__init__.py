"""The nodes' configurations: from a document in an engineer's hands to what the node says in the end."""
