# shellcheck shell=bash
# A state folder and the processes that belong to it: for up and down. Sourced after lib.sh, never run.
#
#   DIR/env, key, generated.yaml, nginx.conf, logs/, run/ (sockets of the workers, pid files), data (a link, see below)
#
# Each process of a state folder has its working folder inside it. That is how they are found when a pid file lies, and it
# is what keeps one `down` away from every other state folder and from the machine's own nginx.

# Sets STATE (absolute) and what is derived from it.
state_set() {
    local dir=$1
    [[ $dir = /* ]] || dir=$PWD/$dir
    [[ $dir =~ ^[A-Za-z0-9._/+@-]+$ ]] || die "the state folder's path may hold only letters, digits and ._/+@- : $dir"
    STATE=$(realpath -m -- "$dir")
    [ "$STATE" != / ] || die 'the state folder cannot be /'
}

# The folder that holds the databases, sockets and working folders. It is the state folder itself, unless Postgres' or the
# workers' user cannot get there (a home folder is often closed): then a folder under /var/tmp that DIR/data points to.
data_folder() { if [ -L "$STATE/data" ]; then readlink -- "$STATE/data"; else printf '%s\n' "$STATE"; fi; }

# Pids of all processes that belong to the state folder.
state_pids() {
    local data pid cwd exe
    data=$(data_folder)
    for cwd in /proc/[0-9]*/cwd; do
        pid=${cwd#/proc/}
        pid=${pid%/cwd}
        cwd=$(readlink -- "$cwd" 2>/dev/null) || continue
        case $cwd/ in "$STATE"/*|"$data"/*) ;; *) continue ;; esac
        exe=$(readlink -- "/proc/$pid/exe" 2>/dev/null) || continue
        exe=${exe% (deleted)}
        case ${exe##*/} in
            nginx|si-worker|postgres|redis-server|redis-check-rdb|valkey-server) printf '%s\n' "$pid" ;;
        esac
    done
}

# pid_of NAME: the live process of a pid file, if it is one of this state folder.
pid_of() {
    local pid file data
    data=$(data_folder)
    case $1 in
        nginx) file=$data/run/nginx.pid ;;
        master) file=$data/run/master.pid ;;
        redis) file=$data/run/redis.pid ;;
        postgres) file=$data/pg/postmaster.pid ;;
    esac
    pid=$(head -n 1 -- "$file" 2>/dev/null) || return 1
    [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
    case $(readlink -- "/proc/$pid/cwd" 2>/dev/null)/ in "$STATE"/*|"$data"/*) printf '%s\n' "$pid" ;; *) return 1 ;; esac
}

# stop_one NAME SIGNAL SECONDS: asks, waits, insists.
stop_one() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill -s "$2" "$pid" 2>/dev/null || return 0
    wait_gone "$3" "$pid" && return 0
    say "$1 (pid $pid) did not leave within $3 s: killing it" >&2
    kill -s KILL "$pid" 2>/dev/null || true
    wait_gone 5 "$pid"
}

# A zombie is gone: its parent may be a container's init that reaps nobody.
is_gone() { [ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

wait_gone() {
    local end=$((SECONDS + $1)) pid
    for pid in "${@:2}"; do
        until is_gone "$pid"; do
            [ $SECONDS -lt $end ] || return 1
            sleep 0.05
        done
    done
}

# Stops all that belongs to the state folder: the edge first, so that nobody is served by half a system.
state_stop() {
    local pids node
    for node in "$STATE"/node-*/env; do
        [ ! -e "$node" ] || "$ROOT/scripts/down" --state "${node%/env}"
    done
    rm -f "$STATE/env"
    stop_one nginx TERM 15
    stop_one master TERM 15
    stop_one redis TERM 10
    stop_one postgres INT 20
    mapfile -t pids < <(state_pids)
    if [ ${#pids[@]} -gt 0 ]; then
        # Children whose parent was killed: they have nobody to tell them.
        kill -s TERM "${pids[@]}" 2>/dev/null || true
        if ! wait_gone 10 "${pids[@]}"; then
            kill -s KILL "${pids[@]}" 2>/dev/null || true
            wait_gone 5 "${pids[@]}" || die "could not stop: ${pids[*]}"
        fi
    fi
}
