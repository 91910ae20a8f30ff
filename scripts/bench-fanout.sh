# shellcheck shell=bash disable=SC2154 # work, bin and the helpers come from scripts/bench, which sources this
# scripts/bench fanout: one event to many readers, through Si's edge, Debian's nchan and a bare epoll+send loop.
#
# All three serve the same number of readers at the same time on this machine; one speaks after the other, three rounds,
# and the medians count. Events are equally big on the wire. CPU is that of the one serving process; what the kernel does
# for a loopback socket is in it, for all three alike. Memory is the PSS of nginx's processes, not the kernel's sockets, and
# without the pages of files: of those the share changes when any other process on the machine maps the same libraries.

ROUNDS=3
# Readers of the warm-up, before memory is first weighed. So many of Si's that it gives back what they left; what nchan keeps
# of its own would make its next readers look lighter.
declare -A warm=([si]=300 [nchan]=50)

declare -A to from client
# Events of a round without a stamp: turn.accepted, turn.started, turn.completed.
declare -A more=([si]=3 [nchan]=0 [bare]=0)

# readers NAME PORT N PATH [HEADER...]: starts them, waits until all have a head.
readers() {
    local name=$1 port=$2 n=$3 fd
    rm -f "$work/$name".{in,out}
    mkfifo "$work/$name".{in,out}
    "$bin/readers" 127.0.0.1 "$port" "$n" "${@:4}" <"$work/$name.in" >"$work/$name.out" &
    client[$name]=$!
    started+=($!)
    exec {fd}>"$work/$name.in"; to[$name]=$fd
    exec {fd}<"$work/$name.out"; from[$name]=$fd
    answer "$name" >/dev/null
}

# A line of what a client or the bare server says.
answer() {
    local line
    read -r -t 90 -u "${from[$1]}" line || die "$1: no answer from its client"
    printf '%s\n' "$line"
}
ask() { printf '%s\n' "$2" >&"${to[$1]}"; answer "$1"; }

# hang_up NAME: ends the client, then waits until the server PID has closed all of its connections but LEFT descriptors.
hang_up() {
    local name=$1 pid=$2 left=$3 end=$((SECONDS + 30)) fd=${to[$1]}
    echo end >&"$fd"        # closing is not enough: processes begun later have the pipe open too
    wait "${client[$name]}" || true
    exec {fd}>&-
    fd=${from[$name]}
    exec {fd}<&-
    while [ "$(descriptors "$pid")" -gt "$left" ]; do
        [ $SECONDS -lt $end ] || die "$name: connections stay open"
        sleep 0.05
    done
}
descriptors() { find "/proc/$1/fd" -mindepth 1 | wc -l; }

field() { sed -n "s/.*\"$1\":\\([-0-9.]*\\).*/\\1/p" <<<"$2"; }

# CPU time of a process in ns: the scheduler's own sum, of which utime + stime are the rounded parts.
cpu_ns() { awk '{ print $1 }' "/proc/$1/task/$1/schedstat"; }

# What processes hold of their own and share among them, KiB.
weight() {
    local pid
    for pid in "$@"; do
        awk '$1 == "Pss:" { n += $2 } $1 == "Pss_File:" { n -= $2 } END { print n + 0 }' "/proc/$pid/smaps_rollup"
    done | awk '{ n += $1 } END { print n + 0 }'
}

# The same once it has stood still for 3 s.
pss_still() {
    local last='' now same=0 i
    for ((i = 0; i < 60 && same < 10; i++)); do
        now=$(weight "$@")
        if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
        last=$now
        sleep 0.3
    done
    printf '%s\n' "$now"
}

# The one worker of an nginx, replaced by a fresh one: its heap has seen nothing yet.
fresh_worker() {
    local master=$1 old new='' end=$((SECONDS + 20))
    old=$(pgrep -P "$master")
    kill -TERM "$old"
    until new=$(pgrep -P "$master") && [ "$new" != "$old" ] && [ "$(wc -w <<<"$new")" = 1 ]; do
        [ $SECONDS -lt $end ] || die 'no new nginx worker'
        sleep 0.05
    done
    printf '%s\n' "$new"
}

# --- Si ---

model_start() {
    [ -z "$model" ] || { kill "$model"; wait "$model" 2>/dev/null || true; }
    "$bin/model" "$mport" "$1" "$2" stamp >"$work/model.log" &
    model=$!
    until grep -q ready "$work/model.log"; do kill -0 "$model" || die 'the model did not start'; sleep 0.02; done
}

api() { curl -sS --fail-with-body --max-time 90 -H "Authorization: Bearer $SI_KEY" -H 'Content-Type: application/json' -d "$2" "$SI_URL$1"; }

si_conversation() { api /v1/conversations '{}' | sed -n 's/^{"id":"\([^"]*\)".*/\1/p'; }

# si_start HEARTBEAT
si_start() {
    local port
    port=$(free_port) mport=$(free_port)
    say 'starting Si with 1 worker and 1 nginx process'
    OPENAI_API_KEY=bench OPENAI_BASE_URL=http://127.0.0.1:$mport/v1 SI_MODEL=bench SI_CONFIG='' \
        SI_NGINX_SET="worker_connections $connections;si_stream_heartbeat $1" \
        "$ROOT/scripts/up" --state "$work/state" --port "$port" --workers 1 --nginx-workers 1 --no-limits --detach >"$work/up.log" 2>&1 ||
        { tail -n 20 "$work/up.log" >&2; die 'scripts/up failed'; }
    # shellcheck source=/dev/null
    . "$work/state/env"
    si_port=$port
}

si_ready() { until [ "$(curl -s -o /dev/null -w '%{http_code}' "$SI_URL/readyz")" = 200 ]; do sleep 0.05; done; }

si_publish() { api "/v1/conversations/$conversation/turns" '{"input":"Say what time it is."}' >"$work/turn.json"; }

si_own_publish() {
    curl -sS --no-progress-meter -Z --parallel-max 8 --retry 10 -f -K "$work/turns" -d '{"input":"Say what time it is."}' -H 'Prefer: respond-async' \
        -H "Authorization: Bearer $SI_KEY" -H 'Content-Type: application/json' >"$work/turn.json"
}

si_prepare() {
    si_pid=$(fresh_worker "$SI_NGINX_PID")
    si_ready
    conversation=$(si_conversation)
    idle_fds=$(descriptors "$si_pid")
    readers si "$si_port" "${warm[si]}" "/v1/conversations/$conversation/events" "Authorization: Bearer $SI_KEY"
    round si >"$work/warm"
    size=$(ask si size)
    hang_up si "$si_pid" "$idle_fds"
    si_pss0=$(pss_still "$si_pid" "$SI_NGINX_PID")
}

# --- nchan ---

nchan_start() {
    nchan_port=$(free_port)
    mkdir -p "$work/nchan/tmp"
    cat >"$work/nchan/nginx.conf" <<END
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
user www-data;
worker_processes 1;
worker_rlimit_nofile $(ulimit -Hn);
pid $work/nchan/pid;
error_log $work/nchan/error.log warn;
events { use epoll; worker_connections $connections; }
http {
    access_log off;
    gzip off;
    keepalive_requests 1000000;
    connection_pool_size 512;
    request_pool_size 1k;
    client_header_buffer_size 1k;
    client_body_temp_path $work/nchan/tmp/body; proxy_temp_path $work/nchan/tmp/proxy;
    fastcgi_temp_path $work/nchan/tmp/fastcgi; uwsgi_temp_path $work/nchan/tmp/uwsgi; scgi_temp_path $work/nchan/tmp/scgi;
    server {
        listen 127.0.0.1:$nchan_port backlog=4096;
        location = /pub { nchan_publisher; nchan_channel_id \$arg_c; }
        location = /sub { nchan_subscriber eventsource; nchan_subscriber_first_message newest; nchan_channel_id \$arg_c; }
    }
}
END
    nginx -p "$work/nchan" -c "$work/nchan/nginx.conf" -e "$work/nchan/error.log" || die 'nchan did not start'
    nchan_master=$(cat "$work/nchan/pid")
    started+=("$nchan_master")
    nchan_pid=$(pgrep -P "$nchan_master")
}

nchan_stop() {
    kill -TERM "$nchan_master"
    while kill -0 "$nchan_master" 2>/dev/null; do sleep 0.02; done
}

nchan_publish() { nchan_post 0 0; }
nchan_own_publish() { nchan_post 0 $((spoken - 1)); }

# Posts EVENTS stamped messages of LENGTH bytes to each channel FIRST..LAST, DELAY ms apart in each, on one connection.
nchan_post() {
    perl -MIO::Socket::INET -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC,sleep -e '
        my ($port, $events, $delay, $length, $first, $last) = @ARGV;
        my $channels = $last - $first + 1;
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 5) or die "nchan: $!\n";
        $s->sockopt(6, 1);
        my $due = clock_gettime(CLOCK_MONOTONIC);
        for my $n (0 .. $events * $channels - 1) {
            my $c = $first + $n % $channels;
            my $wait = $due - clock_gettime(CLOCK_MONOTONIC);
            sleep $wait if $wait > 0;
            $due += $delay / 1000 / $channels;
            my $body = sprintf "t=%015.0f ", clock_gettime(CLOCK_MONOTONIC) * 1e9;
            $body .= "x" x ($length - length $body);
            syswrite $s, "POST /pub?c=$c HTTP/1.1\r\nHost: bench\r\nContent-Length: $length\r\n\r\n$body";
            my $in = "";
            until ($in =~ /\r\n\r\n/) { sysread($s, $in, 4096, length $in) or die "nchan closed\n"; }
            my ($n) = $in =~ /^Content-Length: (\d+)/mi;
            $in =~ s/^.*?\r\n\r\n//s;
            while (length $in < ($n // 0)) { sysread($s, $in, 4096, length $in) or die "nchan closed\n"; }
        }' "$nchan_port" "$events" "$delay" "$nchan_length" "$1" "$2"
}

nchan_prepare() {
    local idle_fds
    nchan_start
    idle_fds=$(descriptors "$nchan_pid")
    readers nchan "$nchan_port" "${warm[nchan]}" '/sub?c=0' 'Accept: text/event-stream'
    nchan_length=$size
    round nchan >"$work/warm"
    nchan_length=$((2 * size - $(ask nchan size)))
    hang_up nchan "$nchan_pid" "$idle_fds"
    nchan_pss0=$(pss_still "$nchan_pid" "$nchan_master")
}

# --- the bare loop ---

bare_start() {
    local port fd
    port=$(free_port)
    rm -f "$work"/bareloop.{in,out}
    mkfifo "$work"/bareloop.{in,out}
    "$bin/bare" "$port" "$1" "$size" <"$work/bareloop.in" >"$work/bareloop.out" &
    bare_pid=$!
    started+=($!)
    exec {fd}>"$work/bareloop.in"; to[bareloop]=$fd
    exec {fd}<"$work/bareloop.out"; from[bareloop]=$fd
    answer bareloop >/dev/null
    bare_pss0=$(pss_still "$bare_pid")
    readers bare "$port" "$1" / 'Accept: text/event-stream'
    answer bareloop >/dev/null
}
bare_publish() { ask bareloop "go $events $delay" >"$work/bare.json"; }

bare_stop() {
    local fd=${to[bareloop]}
    echo end >&"$fd"
    wait "$bare_pid" || true
    exec {fd}>&-
    fd=${from[bareloop]}
    exec {fd}<&-
}

# --- one round of one server: NAME us-per-delivery p50 p99 max ---

# round NAME [_own]: to all readers on one channel, or to one on each channel that is spoken to.
round() {
    local name=$1 pid="${1}_pid" before after line n
    [ "$(ask "$name" "round $events ${more[$name]}")" = armed ] || die "$name: its client is out of step"
    before=$(cpu_ns "${!pid}")
    "$name${2:-}_publish"
    line=$(answer "$name")
    after=$(cpu_ns "${!pid}")
    [ "$(field missing "$line") $(field errors "$line")" = '0 0' ] || die "$name: events are missing: $line"
    # Two tokens that the worker read at once are one event.
    n=$(field deliveries "$line")
    awk -v name="$name" -v ns=$((after - before)) -v n="$n" -v a="$(field p50_ms "$line")" -v b="$(field p99_ms "$line")" \
        -v c="$(field max_ms "$line")" 'BEGIN { printf "%s %.3f %s %s %s\n", name, ns / n / 1000, a, b, c }'
}

fanout_count() {
    local n=$1 i name si_idle nchan_idle bare_idle si_after nchan_after
    events=$((100000 / n))
    events=$((events > 100 ? 100 : events < 20 ? 20 : events))
    delay=$((n / 50 > 20 ? n / 50 : 20))
    model_start "$events" "$delay"
    si_prepare
    nchan_prepare
    bare_start "$n"
    readers si "$si_port" "$n" "/v1/conversations/$conversation/events" "Authorization: Bearer $SI_KEY"
    readers nchan "$nchan_port" "$n" '/sub?c=0' 'Accept: text/event-stream'
    si_idle=$(pss_still "$si_pid" "$SI_NGINX_PID")
    nchan_idle=$(pss_still "$nchan_pid" "$nchan_master")
    bare_idle=$(pss_still "$bare_pid")
    say "$n readers each, $events events of $size bytes, $delay ms apart, $ROUNDS rounds"
    : >"$work/rounds"
    for ((i = 0; i < ROUNDS; i++)); do
        for name in si nchan bare; do
            round "$name" >>"$work/rounds"
        done
    done
    si_after=$(pss_still "$si_pid" "$SI_NGINX_PID")
    nchan_after=$(pss_still "$nchan_pid" "$nchan_master")
    fanout_table "$n" $((si_idle - si_pss0)) $((nchan_idle - nchan_pss0)) $((bare_idle - bare_pss0)) \
        $((si_after - si_pss0)) $((nchan_after - nchan_pss0))
    hang_up bare "$bare_pid" 10000000
    bare_stop
    hang_up si "$si_pid" 10000000
    hang_up nchan "$nchan_pid" 10000000
    nchan_stop
}

fanout_table() {
    awk -v n="$1" -v si="$2" -v nchan="$3" -v bare="$4" -v si2="$5" -v nchan2="$6" '
        function median(name, k,    v, i, j, t, m) {
            m = count[name]
            for (i = 1; i <= m; i++) v[i] = value[name, k, i]
            for (i = 1; i <= m; i++) for (j = i + 1; j <= m; j++) if (v[j] < v[i]) { t = v[i]; v[i] = v[j]; v[j] = t }
            return v[int((m + 1) / 2)]
        }
        function ratio(a, b, bound) { return sprintf("%.2f (bound %.1f: %s)", a / b, bound, a / b <= bound ? "holds" : "MISSED") }
        { i = ++count[$1]; for (k = 2; k <= 5; k++) value[$1, k, i] = $k }
        END {
            printf "\n%-34s %9s %9s %9s\n", n " readers, medians", "Si", "nchan", "bare"
            split("CPU per delivery, us|latency p50, ms|latency p99, ms|latency max, ms", title, "|")
            for (k = 2; k <= 5; k++) {
                a = median("si", k); b = median("nchan", k); c = median("bare", k)
                printf "%-34s %9.2f %9.2f %9.2f\n", title[k - 1], a, b, c
                if (k == 2) verdict = sprintf("CPU: Si/bare %s, Si/nchan %s", ratio(a, c, 1.2), ratio(a, b, 0.7))
            }
            printf "%-34s %9.2f %9.2f %9.2f\n", "PSS per idle reader, KiB", si / n, nchan / n, (bare > 0 ? bare / n : 0)
            printf "%-34s %9.2f %9.2f\n", "the same after all rounds, KiB", si2 / n, nchan2 / n
            printf "%s\nmemory: Si %.2f KiB per idle reader (bound 5: %s), Si/nchan %.2f\n\n", verdict, si / n,
                si / n <= 5 ? "holds" : "MISSED", si / nchan
        }' "$work/rounds"
}

# N conversations: paths of their events, and of the turns of the first SPOKEN.
si_conversations() {
    local n=$1 i
    for ((i = 0; i < n; i++)); do printf 'url = "%s/v1/conversations"\n' "$SI_URL"; done >"$work/make"
    curl -sS --fail-early -f -K "$work/make" -d '{}' -H "Authorization: Bearer $SI_KEY" -H 'Content-Type: application/json' |
        grep -o '{"id":"[^"]*' | sed 's/.*"/\/v1\/conversations\//; s/$/\/events/' >"$work/paths"
    tail -n +$((spoken + 1)) "$work/paths" >"$work/paths.idle"
    head -n "$spoken" "$work/paths" | sed "s,^,url = \"$SI_URL,; s,events\$,turns\"," >"$work/turns"
}

# own_rounds NAME PID: events to some of its readers, with the model's tokens half a second apart.
own_rounds() {
    local i
    for ((i = 0; i < ROUNDS; i++)); do round "$1" _own >>"$work/rounds"; done
    hang_up "$1" "$2" 10000000
    [ "$n" = "$spoken" ] || hang_up "$1_idle" "$2" 10000000
}

# Each reader on a channel of its own. Events to each would be as many turns, so no more than 1000 are spoken to; the requests
# that publish are in the CPU of both: a turn for 20 tokens at Si, a POST for each message at nchan.
fanout_own() {
    local n=$1 spoken=$(($1 < 1000 ? $1 : 1000)) si_idle nchan_idle
    : >"$work/rounds"
    events=10 delay=20
    model_start "$events" "$delay"
    si_prepare
    si_conversations "$n"
    readers si "$si_port" "$spoken" "@$work/paths" "Authorization: Bearer $SI_KEY"
    [ "$n" = "$spoken" ] || readers si_idle "$si_port" $((n - spoken)) "@$work/paths.idle" "Authorization: Bearer $SI_KEY"
    si_idle=$(pss_still "$si_pid" "$SI_NGINX_PID")
    say "$n readers on $n channels, 20 events 500 ms apart to $spoken of them, $ROUNDS rounds"
    model_start 20 500
    events=20 delay=500
    own_rounds si "$si_pid"
    events=10 delay=20
    nchan_prepare
    readers nchan "$nchan_port" "$spoken" '/sub?c=%d' 'Accept: text/event-stream'
    [ "$n" = "$spoken" ] || readers nchan_idle "$nchan_port" $((n - spoken)) '/sub?c=idle%d' 'Accept: text/event-stream'
    nchan_idle=$(pss_still "$nchan_pid" "$nchan_master")
    events=20 delay=500
    own_rounds nchan "$nchan_pid"
    nchan_stop
    own_table "$n" $((si_idle - si_pss0)) $((nchan_idle - nchan_pss0))
}

# The median of field K of what the rounds of NAME gave.
median() { awk -v name="$1" -v k="$2" '$1 == name { print $k }' "$work/rounds" | sort -g | sed -n "$(((ROUNDS + 1) / 2))p"; }

own_table() {
    local k=2 title si nchan
    printf '\n%-34s %9s %9s\n' "$1 readers, a channel each, medians" Si nchan
    for title in 'CPU per delivery, us' 'latency p50, ms' 'latency p99, ms' 'latency max, ms'; do
        printf '%-34s %9.2f %9.2f\n' "$title" "$(median si $k)" "$(median nchan $k)"
        k=$((k + 1))
    done
    si=$(median si 2) nchan=$(median nchan 2)
    awk -v n="$1" -v a="$2" -v b="$3" -v c="$si" -v d="$nchan" 'BEGIN {
        printf "%-34s %9.2f %9.2f\n", "PSS per idle reader, KiB", a / n, b / n
        printf "CPU: Si/nchan %.2f (bound 0.7: %s), memory: Si %.2f KiB (bound 5: %s)\n\n", c / d, c / d <= 0.7 ? "holds" : "MISSED",
            a / n, a / n <= 5 ? "holds" : "MISSED" }'
}

# fanout_flat READERS SECONDS: messages, then some heartbeats of 1 s, again and again; then what is left when all have gone.
fanout_flat() {
    local n=$1 seconds=$2 end first=0 now=0 most=0 rounds=0 left
    "$ROOT/scripts/down" --state "$work/state" >/dev/null
    si_start 1s
    events=20 delay=50
    model_start "$events" "$delay"
    si_prepare
    say "$n readers for $seconds s, with messages and heartbeats"
    readers si "$si_port" "$n" "/v1/conversations/$conversation/events" "Authorization: Bearer $SI_KEY"
    end=$((SECONDS + seconds))
    while [ $SECONDS -lt $end ] || [ $rounds -lt 3 ]; do
        round si >"$work/warm"
        sleep 3     # of heartbeats
        now=$(weight "$si_pid" "$SI_NGINX_PID")
        rounds=$((rounds + 1))
        # The first round brings the blocks of the log, which are used again and again.
        [ $rounds -gt 1 ] || first=$now
        [ "$now" -le "$most" ] || most=$now
    done
    hang_up si "$si_pid" "$idle_fds"
    left=$(pss_still "$si_pid" "$SI_NGINX_PID")
    awk -v n="$n" -v s="$seconds" -v r=$rounds -v z="$si_pss0" -v a="$first" -v b="$most" -v c="$now" -v l="$left" 'BEGIN {
        printf "flat: %d readers, %d s, %d rounds of messages: %.2f KiB each at first, %.2f at most, %.2f at last (%s)\n", n, s, r,
            (a - z) / n, (b - z) / n, (c - z) / n, b - a <= (a - z) * 0.02 ? "holds" : "GREW"
        printf "memory when all had gone: %d KiB more than before they came, of %d KiB\n\n", l - z, c - z }'
}

bench_fanout() {
    local n connections mport si_port si_pid conversation size si_pss0 nchan_port nchan_pid nchan_master nchan_length nchan_pss0
    local bare_pid bare_pss0 events delay idle_fds flat=60
    if [ "${1:-}" = --flat ]; then
        [[ ${2:-} =~ ^[0-9]+$ ]] || die '--flat wants a number of seconds'
        flat=$2
        shift 2
    fi
    [ $# -gt 0 ] || set -- 1000 5000 15000
    connections=$(($(ulimit -Hn) > 65636 ? 65536 : $(ulimit -Hn) - 100))
    for n in "$@"; do
        [[ $n =~ ^[1-9][0-9]*$ ]] || die "a number of readers, not \"$n\""
        [ "$n" -le $((connections - 100)) ] || die "$n readers are more than the $(ulimit -Hn) open files a process may have"
    done
    [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || die 'nchan is missing: install libnginx-mod-nchan'
    ulimit -n "$(ulimit -Hn)"
    for n in model readers bare; do tool $n; done
    si_start 60s
    for n in "$@"; do fanout_count "$n"; done
    for n in "$@"; do fanout_own "$n"; done
    [ "$flat" = 0 ] || fanout_flat "$1" "$flat"
    cat <<'END'
Latency counts from the publisher's clock: for Si from the model's token (its way through the worker and the link is in
it), for nchan from before the POST, for the bare loop from before its first send.
END
}
