"""`python -m hsm`: the same as `station-signer`."""

from hsm.cli import main

if __name__ == "__main__":
    main()
