"""Devices taken out for good: proposed here, burned by the registry, and made known to this station's own signer.

Never judges who may scrap what: the registry does, by signatures.
"""
