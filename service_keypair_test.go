package openimds_test

// ed25519Key is a public key that nobody has the private one of: its 32 bytes are 0 to 31.
const ed25519Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
