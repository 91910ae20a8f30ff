package SI::Edge;

# nginx with the module alone, its clients, and the one loop that serves all sockets of a test. Core Perl only.
#
#   my $edge = SI::Edge->new(workers => 1, location => 'si_stream_heartbeat 1s;');
#   my $w = $edge->worker(0); $edge->start;
#   my $c = $edge->client("GET /x HTTP/1.1\r\nHost: t\r\n\r\n"); … $w->call->json('{}'); $c->response;
#
# Nothing sleeps: wait_for() polls a condition while it moves bytes, and dies after $TIMEOUT seconds.
# stop() fails the test on [alert], [emerg] or a sanitizer's line in error.log, and on a process that stays.

use strict;
use warnings;
use Cwd ();
use File::Basename ();
use File::Temp ();
use IO::Select;
use IO::Socket::INET;
use IO::Handle;
use POSIX ();
use Test::More ();
use Socket ();
use Time::HiRes ();

$SIG{PIPE} = 'IGNORE';

our $TIMEOUT = 30;
my %handles;                # by file number: { fh, on_read, paused }
my $owner = $$;
my @running;
my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');
my $build = $ENV{SI_BUILD} || "$root/.build/release";
$build = "$root/$build" unless $build =~ m{^/};

sub now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub add_handle { my $h = shift; $h->{fh}->blocking(0); $h->{no} = fileno $h->{fh}; $handles{ $h->{no} } = $h; return $h }
sub remove_handle { my $h = shift; delete $handles{ $h->{no} } if defined $h->{no} && ($handles{ $h->{no} } || 0) == $h; return }

# One turn of the loop.
sub turn {
    my $wait = shift;
    my $r = IO::Select->new(map { $_->{fh} } grep { !$_->{paused} } values %handles);
    if (!$r->count) { select undef, undef, undef, $wait; return }
    for my $fh ($r->can_read($wait)) {
        my $no = fileno $fh;
        my $h = defined $no && $handles{$no} or next;
        $h->{on_read}->() if !$h->{paused};
    }
    return;
}

sub wait_for {
    my ($cond, $what, $timeout) = @_;
    my $end = now() + ($timeout || $TIMEOUT);
    while (!$cond->()) {
        die 'timed out waiting for ' . ($what || 'a condition') . "\n" if now() > $end;
        turn(0.02);
    }
    return 1;
}

# True when the condition stays false for so long: for what must not happen.
sub never { my ($cond, $seconds) = @_; my $end = now() + $seconds; while (now() < $end) { return 0 if $cond->(); turn(0.02) } return 1 }

sub write_all {
    my ($h, $bytes) = @_;
    my $end = now() + $TIMEOUT;
    while (length $bytes) {
        my $n = syswrite $h->{fh}, $bytes;
        if (defined $n) { substr($bytes, 0, $n) = ''; next }
        return 0 if !$!{EAGAIN} && !$!{EINTR};
        die "timed out writing\n" if now() > $end;
        turn(0.005);
    }
    return 1;
}

sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "socket: $!";
    my $port = $s->sockport;
    close $s;
    return $port;
}

# new(workers => N, nginx_workers => N, key => '$var', sndbuf => '32k', tls => 1, location, http, main => more configuration)
sub new {
    my ($class, %o) = @_;
    my $self = bless { workers => 1, nginx_workers => 1, location => '', http => '', main => '', %o }, $class;
    $self->{dir} = File::Temp::tempdir('si-edge-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, $self->{dir};
    mkdir "$self->{dir}/run";
    mkdir "$self->{dir}/$_" for qw(tmp logs);
    $self->{port} = free_port();
    $self->{h2} = free_port();
    $self->make_cert if $self->{tls};
    $self->{module} = $ENV{SI_MODULE} // (-e "$build/ngx_si_module.so" ? "$build/ngx_si_module.so" : '');
    $self->{nginx} = $self->{module} ne '' ? 'nginx' : $ENV{SI_NGINX} || "$build/nginx";
    return $self;
}

# A port for TLS, HTTP/1.1 and HTTP/2, with a certificate of its own.
sub make_cert {
    my $self = shift;
    $self->{tls_port} = free_port();
    system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=t -keyout $self->{dir}/key.pem -out $self->{dir}/cert.pem 2>/dev/null") == 0
        or die "openssl failed\n";
}

sub worker { my ($self, $slot, $pid) = @_; require SI::FakeWorker; return SI::FakeWorker->new(folder => "$self->{dir}/run", slot => $slot, pid => $pid || 1000 + $slot) }

sub conf {
    my $self = shift;
    my $load = $self->{module} ne '' ? "load_module $self->{module};" : '';
    my $user = $> == 0 ? 'user root;' : '';
    # the kernel lets send buffers grow for seconds, which looks like progress
    my $sndbuf = $self->{sndbuf} ? " sndbuf=$self->{sndbuf}" : '';
    my $tls = $self->{tls} ? "listen 127.0.0.1:$self->{tls_port} ssl http2$sndbuf; ssl_certificate $self->{dir}/cert.pem; ssl_certificate_key $self->{dir}/key.pem;" : '';
    my $key = $self->{key} ? " key=$self->{key}" : '';
    my $temp = join "\n    ", map { "${_}_temp_path $self->{dir}/tmp/$_;" } qw(client_body proxy fastcgi uwsgi scgi);
    return <<"END";
$load
$user
daemon off;
worker_processes $self->{nginx_workers};
pid $self->{dir}/nginx.pid;
error_log $self->{dir}/logs/error.log info;
$self->{main}
events { worker_connections 4096; }
http {
    $temp
    log_format si '\$status \$si_worker \$si_tenant \$si_user \$si_turn \$si_first_byte_time [\$si_conversation]';
    access_log $self->{dir}/logs/access.log si;
    client_body_buffer_size 16k;
    client_max_body_size 8m;
    si_pool main $self->{dir}/run workers=$self->{workers};
    $self->{http}
    server {
        listen 127.0.0.1:$self->{port}$sndbuf;
        listen 127.0.0.1:$self->{h2} http2;
        $tls
        location = /status { si_status; }
        location = /metrics { si_metrics; }
        location / { si_pass main$key; $self->{location} }
    }
}
END
}

sub write_conf {
    my $self = shift;
    open my $fh, '>', "$self->{dir}/nginx.conf" or die "nginx.conf: $!";
    print $fh $self->conf;
    close $fh or die $!;
}

sub start {
    my $self = shift;
    $self->write_conf;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $ENV{ASAN_OPTIONS} = join ':', 'detect_leaks=0', $ENV{ASAN_OPTIONS} || ();
        open STDERR, '>>', "$self->{dir}/logs/stderr.log";
        open STDOUT, '>&', \*STDERR;
        { exec $self->{nginx}, '-p', $self->{dir}, '-c', "$self->{dir}/nginx.conf", '-e', "$self->{dir}/logs/error.log" }
        POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    push @running, $self;
    wait_for(sub {
        die "nginx did not start: " . $self->log . slurp("$self->{dir}/logs/stderr.log") if waitpid($pid, POSIX::WNOHANG()) == $pid;
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or return 0;
        close $s;
        return 1;
    }, 'nginx');
    return $self;
}

sub slurp { my $file = shift; open my $fh, '<:raw', $file or return ''; local $/; return scalar(<$fh>) // '' }
sub tail { my ($text, $n) = @_; my @l = split /^/, $text; return join '', @l > $n ? @l[-$n .. -1] : @l }
sub log { my $self = shift; return slurp("$self->{dir}/logs/error.log") }
sub access { my $self = shift; return slurp("$self->{dir}/logs/access.log") }
sub reload { my $self = shift; kill HUP => $self->{pid}; return }
sub nginx_pids { my $self = shift; return map { /^(\d+)/ } split ' ', slurp("/proc/$self->{pid}/task/$self->{pid}/children") }

sub stop {
    my $self = shift;
    my $pid = delete $self->{pid} or return;
    @running = grep { $_ != $self } @running;
    kill TERM => $pid;
    my $gone = eval { wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 'nginx to stop') };
    kill KILL => $pid if !$gone;
    Test::More::ok($gone, 'nginx stopped');
    my $expected = $self->{expected} || qr/(?!)/;
    my @bad = grep { /\[(?:alert|emerg)\]|Sanitizer|runtime error:/ && !/$expected/ } split /^/, $self->log . slurp("$self->{dir}/logs/stderr.log");
    Test::More::is(scalar @bad, 0, 'no alert, no emerg, no report of a sanitizer') or Test::More::diag(@bad[0 .. ($#bad > 20 ? 20 : $#bad)]);
    return;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        for my $e (@running) {
            Test::More::diag(tail($e->log, 15), tail(slurp("$e->{dir}/logs/stderr.log"), 90)) if $status;
            kill KILL => $e->nginx_pids, $e->{pid};
            waitpid $e->{pid}, 0;
        }
        $? = $status;
    }
}

# A client that has sent `request`. Options: rcvbuf => bytes.
sub client {
    my ($self, $request, %o) = @_;
    socket(my $s, Socket::AF_INET(), Socket::SOCK_STREAM(), 0) or die "socket: $!";
    setsockopt $s, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), $o{rcvbuf} if $o{rcvbuf};
    connect $s, Socket::pack_sockaddr_in($self->{port}, Socket::inet_aton('127.0.0.1')) or die "connect: $!";
    my $c = bless { fh => $s, in => '', paused => $o{paused} }, 'SI::Edge::Client';
    $c->{on_read} = sub { $c->readable };
    add_handle($c);
    write_all($c, $request) if defined $request;
    return $c;
}

sub get { my ($self, $path, %o) = @_; return $self->client("GET $path HTTP/1.1\r\nHost: t\r\n" . ($o{head} || '') . "\r\n", %o) }

package SI::Edge::Client;

use strict;
use warnings;

sub readable {
    my $self = shift;
    my $n = sysread $self->{fh}, $self->{in}, 65536, length $self->{in};
    return if !defined $n && ($!{EAGAIN} || $!{EINTR});
    return if $n;
    $self->{eof} = defined $n ? 'eof' : "$!";
    SI::Edge::remove_handle($self);
}

sub close { my $self = shift; SI::Edge::remove_handle($self); CORE::close $self->{fh}; return }
sub pause { $_[0]{paused} = 1 }
# Reads on, and as much at once as others do.
sub unpause { my $self = shift; setsockopt $self->{fh}, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), 1 << 20; $self->{paused} = 0; return }

sub wait_head { my $self = shift; SI::Edge::wait_for(sub { $self->{in} =~ /\r\n\r\n/ || $self->{eof} }, 'a response header'); return $self->header }
sub header { my $self = shift; return $self->{in} =~ /\A(.*?\r\n)\r\n/s ? $1 : '' }
sub status { my $self = shift; return $self->{in} =~ m{\AHTTP/1\.\d (\d+)} ? $1 : 0 }

# The body so far without its chunks, and whether the last chunk came.
sub decoded {
    my $self = shift;
    my ($head, $rest) = $self->{in} =~ /\A(.*?)\r\n\r\n(.*)\z/s or return ('', 0);
    if ($head !~ /^transfer-encoding: chunked\r?$/mi) {
        my ($n) = $head =~ /^content-length: (\d+)\r?$/mi;
        return ($rest, defined $n ? length $rest >= $n : !!$self->{eof});
    }
    my $body = '';
    while ($rest =~ s/\A([0-9a-fA-F]+)\r\n//) {
        my $n = hex $1;
        return ($body, 1) if $n == 0;
        $body .= substr $rest, 0, $n;
        return ($body, 0) if length $rest < $n + 2;
        die "chunk does not end in CRLF\n" if substr($rest, $n, 2) ne "\r\n";
        substr($rest, 0, $n + 2) = '';
    }
    return ($body, 0);
}

sub body { return ($_[0]->decoded)[0] }

# Asked with every read: of megabytes nothing is copied where their number was said.
sub whole {
    my $self = shift;
    my $at = index $self->{in}, "\r\n\r\n";
    my $head = $at < 0 ? '' : substr $self->{in}, 0, $at + 2;
    return length($self->{in}) - $at - 4 >= $1 if $head !~ /^transfer-encoding:/mi && $head =~ /^content-length: (\d+)\r?$/mi;
    return ($self->decoded)[1];
}

sub wait_body { my ($self, $re) = @_; SI::Edge::wait_for(sub { $self->body =~ $re || $self->{eof} }, "body to match $re"); return $self->body =~ $re }
sub wait_whole { my $self = shift; SI::Edge::wait_for(sub { $self->whole || $self->{eof} }, 'a whole response'); return $self->whole }
sub wait_eof { my $self = shift; SI::Edge::wait_for(sub { $self->{eof} }, 'the end of the connection'); return 1 }

1;
