# Carry out an order as a job of Ray's: `sh search/jobs/job.sh FILE --job ID`, in the folder that travelled.
#
# A job's own `python` is the one on the path with which the head was started. A head that was started as
# /path/venv/bin/ray, as a service does, has another one there, or none. So the search runs with the Python of Ray's
# workers, which the raylet, our grandparent, has in its command line.
raylet=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$PPID/status" 2>/dev/null)
python=$(tr '\0' '\n' <"/proc/${raylet:-0}/cmdline" 2>/dev/null | sed -n 's/^--python_worker_command=\([^ ]*\) .*/\1/p')
if [ -z "$python" ]; then
    echo "warning: the Python of Ray's workers was not found; the job's own is taken" >&2
    python=$(command -v python || command -v python3) || {
        echo "error: the head of the cluster has no Python on its path; start it where an environment with search is active" >&2
        exit 3
    }
fi
"$python" - <<'END' || exit 3
import sys
from importlib.util import find_spec

NEEDED = (
    "click jinja2 matplotlib mlflow numpy optuna pandas PIL plotly psutil pyarrow ray requests rich safetensors scipy starlette "
    "tensorboardX threadpoolctl torch torchvision uvicorn yaml"
).split()
lacking = [name for name in NEEDED if find_spec(name) is None]
if lacking:
    sys.exit(f"error: on the cluster {sys.executable} lacks {', '.join(lacking)}; install there what search needs")
if sys.version_info < (3, 11):
    sys.exit(f"error: on the cluster {sys.executable} is Python {sys.version.split()[0]}; search needs 3.11 or later")
END
exec "$python" -m search run-order "$@"
