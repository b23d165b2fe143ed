"""PKCS#11, whose only importer this package is: a session for the signer, the keys on a token, the making of keys."""
