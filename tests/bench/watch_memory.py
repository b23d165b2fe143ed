"""Runs a command and adds one JSON line to its stdout: its peak memory (MB) and CPU seconds. Standard library only."""

import json
import resource
import subprocess
import sys

code = subprocess.run(sys.argv[1:], check=False).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.write(json.dumps({"peak_mb": used.ru_maxrss / 1024, "cpu": used.ru_utime + used.ru_stime}) + "\n")
sys.exit(code)
