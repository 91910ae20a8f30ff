package SI::Model;

# A model provider for tests that does what the test says: an OpenAI-compatible server (POST /v1/chat/completions, streamed
# or not; GET /v1/models) in a process of its own, with a select loop that serves many requests at once.
#
#   my $model = SI::Model->start;                       # 5 tokens at once for every request
#   $model->default(kind => 'tokens', tokens => 20, delay_ms => 50);
#   $model->next(kind => 'step');                       # the next request waits for the test
#   my $n = $model->wait_request(1);                    # number of the request, counted from 1
#   $model->go($n, 'Hello '); $model->go($n, 'you'); $model->finish($n);
#   $model->request($n)->{json}{messages};
#   my $at = $model->wait_closed($n);                   # when the peer closed it, in ms of the monotonic clock
#
# Kinds: tokens (tokens => count or list, unique => 1 for other ones in each answer, delay_ms, first_ms, finish_reason, usage => members of its own), step, hang (nothing is ever answered), status
# (status, body, headers), cut (after => n tokens, then the connection breaks; rst => 1 with a reset), malformed (after => n
# tokens, then bytes => that are no event), stall (after => n tokens, then silence), ping (after => n tokens, then a comment each
# ping_ms and nothing else), raw (bytes => the whole answer), embed (vectors, see SI::Embed; delay_ms). cut with clean => 1 ends the body as if it were whole.

use strict;
use warnings;
use Errno qw(EAGAIN EINTR);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(AF_UNIX SOCK_STREAM PF_UNSPEC SOL_SOCKET SO_LINGER IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);
use SI::Embed;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my @running;
my $owner = $$;

sub ms { int(1000 * clock_gettime(CLOCK_MONOTONIC)) }

# --- in the test ---

sub start {
    my ($class, %o) = @_;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $o{port} || 0, Proto => 'tcp', Listen => 1024, ReuseAddr => 1)
        or die "listen: $@";
    my $self = bless { port => $listen->sockport, name => $o{name} || 'fake-1' }, $class;
    socketpair my $mine, my $its, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "socketpair: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $mine;
        $SIG{INT} = $SIG{TERM} = 'DEFAULT';
        eval { SI::Model::Server->new($listen, $its)->loop; 1 } or print STDERR "# SI::Model: $@";
        POSIX::_exit(0);
    }
    close $its;
    close $listen;
    @$self{qw(pid control)} = ($pid, $mine);
    push @running, $self;
    $self->default(kind => 'tokens', tokens => 5);
    return $self;
}

sub ask {
    my ($self, $cmd, %args) = @_;
    my $line = $json->encode({ cmd => $cmd, %args }) . "\n";
    syswrite $self->{control}, $line;
    my $reply = readline $self->{control};
    die "the fake model has died\n" unless defined $reply;
    my $r = $json->decode($reply);
    die "fake model: $r->{error}\n" if ref $r eq 'HASH' && $r->{error};
    return $r->{result};
}

sub port { $_[0]{port} }
sub base_url { "http://127.0.0.1:$_[0]{port}/v1" }

# Keys for an overlay of conf/si.yaml: this server as provider "fake", its model as the default one.
sub config {
    my $self = shift;
    return "providers:\n  fake:\n    kind: openai\n    base_url: \"" . $self->base_url . "\"\n    api_key: env:SI_TEST_MODEL_KEY\n"
        . "models:\n  $self->{name}:\n    provider: fake\ndefault_model: $self->{name}\n";
}

sub default { my ($self, %how) = @_; $self->ask('default', how => \%how) }          # how all further requests are answered
sub next    { my ($self, @how) = @_; $self->ask('next', how => ref $how[0] ? \@how : [{@how}]) }     # how the next ones are
sub go      { my ($self, $n, $text, $times) = @_; $self->ask('go', n => $n, text => $text, times => $times || 1) }    # one token
sub finish  { my ($self, $n) = @_; $self->ask('finish', n => $n) }                  # the end of a stepped answer
sub cut     { my ($self, $n, $rst) = @_; $self->ask('cut', n => $n, rst => $rst ? 1 : 0) }     # breaks the connection
sub refuse  { my ($self, $on) = @_; $self->ask('refuse', on => $on ? 1 : 0) }        # closes, or opens again, the port
sub count   { $_[0]->ask('count') }                                                 # of requests so far
sub active  { $_[0]->ask('active') }                                                # of requests unanswered or in the middle
sub pending { my ($self, $n) = @_; $self->ask('pending', n => $n) }                  # bytes of an answer that the peer has not taken
# What request n (default: the last) was: { n, method, path, headers, body, json, at, closed, done, sent }.
sub request { my ($self, $n) = @_; $self->ask('request', n => $n || 0) }

sub poll {
    my ($what, $cond, $timeout) = @_;
    my $end = ms() + 1000 * ($timeout || 30);
    while (1) {
        my $v = $cond->();
        return $v if $v;
        die "timed out waiting for $what\n" if ms() > $end;
        sleep 0.005;
    }
}

# Waits until n requests have come; returns n.
sub wait_request { my ($self, $n, $timeout) = @_; poll("model request $n", sub { $self->count >= $n && $n }, $timeout) }
# Waits until the peer has closed request n before its answer was whole; returns when, in ms of the monotonic clock.
sub wait_closed { my ($self, $n, $timeout) = @_; poll("the close of model request $n", sub { $self->request($n)->{closed} }, $timeout) }
# Waits until the answer to request n was sent to its end.
sub wait_done { my ($self, $n, $timeout) = @_; poll("the end of model request $n", sub { $self->request($n)->{done} }, $timeout) }

sub stop {
    my $self = shift;
    my $pid = delete $self->{pid} or return;
    kill KILL => $pid;
    waitpid $pid, 0;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        $_->stop for @running;
        $? = $status;
    }
}

# --- in the server's process ---

package SI::Model::Server;

use Errno qw(EAGAIN EINTR);
use Socket qw(SOL_SOCKET SO_LINGER IPPROTO_TCP TCP_NODELAY);

sub new {
    my ($class, $listen, $control) = @_;
    $listen->blocking(0);
    IO::Handle::blocking($control, 0);
    return bless { listen => $listen, port => $listen->sockport, control => $control, in => '', conns => {}, requests => [], queue => [], timers => [] }, $class;
}

sub loop {
    my $self = shift;
    $SIG{PIPE} = 'IGNORE';
    while (1) {
        my ($r, $w) = ('', '');
        vec($r, fileno $self->{listen}, 1) = 1 if $self->{listen};
        vec($r, fileno $self->{control}, 1) = 1;
        for my $c (values %{ $self->{conns} }) {
            vec($r, $c->{fd}, 1) = 1;
            vec($w, $c->{fd}, 1) = 1 if length $c->{out};
        }
        my $wait = $self->run_timers;
        select $r, $w, undef, $wait;
        next unless defined $r;
        return if vec($r, fileno $self->{control}, 1) && !$self->control;
        $self->accept if $self->{listen} && vec($r, fileno $self->{listen}, 1);
        for my $c (values %{ $self->{conns} }) {
            $self->flush($c) if vec($w, $c->{fd}, 1);
            $self->readable($c) if !$c->{gone} && vec($r, $c->{fd}, 1);
        }
    }
}

# Runs what is due; returns seconds until the next is, or undef.
sub run_timers {
    my $self = shift;
    while (1) {
        my $t = $self->{timers}[0] or return undef;
        my $left = $t->[0] - SI::Model::ms();
        return $left / 1000 if $left > 0;
        shift @{ $self->{timers} };
        $self->step($t->[1]) unless $t->[1]{over};
    }
}

sub later {
    my ($self, $ms, $q) = @_;
    my ($at, $list) = (SI::Model::ms() + $ms, $self->{timers});
    my $i = @$list;
    $i-- while $i > 0 && $list->[$i - 1][0] > $at;
    splice @$list, $i, 0, [$at, $q];
}

sub accept {
    my $self = shift;
    while (my $sock = $self->{listen}->accept) {
        $sock->blocking(0);
        setsockopt $sock, IPPROTO_TCP, TCP_NODELAY, 1;
        $self->{conns}{ fileno $sock } = { sock => $sock, fd => fileno $sock, in => '', out => '' };
    }
}

sub drop {
    my ($self, $c, $rst) = @_;
    return if $c->{gone}++;
    setsockopt $c->{sock}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $rst;
    delete $self->{conns}{ $c->{fd} };
    close $c->{sock};
    $c->{q}{over} = 1 if $c->{q};
}

sub readable {
    my ($self, $c) = @_;
    my $n = sysread $c->{sock}, my $bytes, 65536;
    return if !defined $n && ($!{EAGAIN} || $!{EINTR});
    if (!$n) {
        $c->{q}{closed} = SI::Model::ms() if $c->{q} && !$c->{q}{over};
        return $self->drop($c);
    }
    $c->{in} .= $bytes;
    $self->parse($c) unless $c->{q};
}

sub parse {
    my ($self, $c) = @_;
    if ($c->{in} =~ /^\x16/) {             # TLS, which is not spoken here
        $c->{drop_when_sent} = 1;
        return $self->send($c, "HTTP/1.1 400 Plain\r\n\r\n");
    }
    my $end = index $c->{in}, "\r\n\r\n";
    return if $end < 0;
    my ($first, @lines) = split /\r\n/, substr $c->{in}, 0, $end;
    my %h = map { /^([^:]+):\s*(.*)$/ ? (lc $1, $2) : () } @lines;
    if (($h{expect} || '') =~ /100-continue/i && !$c->{continued}++) { $self->send($c, "HTTP/1.1 100 Continue\r\n\r\n") }
    my $length = $h{'content-length'} || 0;
    return if length $c->{in} < $end + 4 + $length;
    my $body = substr $c->{in}, $end + 4, $length;
    substr($c->{in}, 0, $end + 4 + $length) = '';
    $c->{continued} = 0;
    my ($method, $path) = split / /, $first;
    my $q = { n => 1 + @{ $self->{requests} }, method => $method, path => $path, headers => \%h, body => $body, at => SI::Model::ms(), conn => $c, sent => 0 };
    $q->{json} = eval { $json->decode($body) };
    $c->{q} = $q;
    if ($method eq 'GET') {
        $self->answer($q, 200, $json->encode({ object => 'list', data => [{ id => 'fake-1', object => 'model' }] }));
        return;
    }
    push @{ $self->{requests} }, $q;
    $q->{how} = { %{ shift @{ $self->{queue} } || $self->{default} } };
    $self->begin($q);
}

sub send {
    my ($self, $c, $bytes) = @_;
    return if $c->{gone};
    $c->{out} .= $bytes;
    $self->flush($c);
}

sub flush {
    my ($self, $c) = @_;
    while (length $c->{out}) {
        my $n = syswrite $c->{sock}, $c->{out};
        if (!defined $n) {
            return if $!{EAGAIN} || $!{EINTR};
            $c->{q}{closed} = SI::Model::ms() if $c->{q} && !$c->{q}{over};
            return $self->drop($c);
        }
        substr($c->{out}, 0, $n) = '';
    }
    $self->drop($c, $c->{rst}) if $c->{drop_when_sent};
}

sub answer {
    my ($self, $q, $status, $body, $headers) = @_;
    my %h = ('Content-Type' => 'application/json', 'Content-Length' => length $body, %{ $headers || {} });
    $self->send($q->{conn}, "HTTP/1.1 $status Status\r\n" . join('', map { "$_: $h{$_}\r\n" } sort keys %h) . "\r\n$body");
    $self->over($q);
}

# The answer is whole: the connection may carry another request.
sub over {
    my ($self, $q) = @_;
    @$q{qw(over done)} = (1, SI::Model::ms());
    my $c = $q->{conn};
    return if $c->{gone};
    $c->{q} = undef;
    $self->parse($c) if length $c->{in};
}

sub begin {
    my ($self, $q) = @_;
    my $how = $q->{how};
    my $kind = $how->{kind};
    return if $kind eq 'hang';
    if ($kind eq 'status') { return $self->answer($q, $how->{status}, $how->{body} // '{"error":{"message":"scripted","type":"server_error"}}', $how->{headers}) }
    if ($kind eq 'raw') {
        @{ $q->{conn} }{qw(drop_when_sent rst)} = (1, 0);
        $q->{over} = 1;
        return $self->send($q->{conn}, $how->{bytes});
    }
    if ($kind eq 'embed') { return $how->{delay_ms} && !$q->{late}++ ? $self->later($how->{delay_ms}, $q) : $self->answer($q, 200, $json->encode(SI::Embed::answer($q->{path}, $q->{json}, $how))) }
    $how->{tokens} = 5 unless defined $how->{tokens};
    my $mark = $how->{unique} ? "$q->{n}-" : '';
    $how->{tokens} = [map { "t$mark$_ " } 1 .. $how->{tokens}] unless ref $how->{tokens};
    $how->{tokens} = [] if $kind eq 'step';
    $how->{after} //= 0 if $kind eq 'ping';
    $q->{stream} = $q->{json} && $q->{json}{stream};
    $q->{text} = '';
    $q->{id} = "chatcmpl-$q->{n}";
    $self->head($q) if $q->{stream} && !$how->{first_ms};
    return if $kind eq 'step';
    my $first = $how->{first_ms} || $how->{delay_ms} || 0;
    $first ? $self->later($first, $q) : $self->step($q);
}

sub head {
    my ($self, $q) = @_;
    return if $q->{head_sent}++;
    $self->send($q->{conn}, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nCache-Control: no-cache\r\n\r\n");
    $self->event($q, { choices => [{ index => 0, delta => { role => 'assistant', content => '' }, finish_reason => undef }] });
}

sub chunk { my ($self, $q, $bytes) = @_; $self->send($q->{conn}, sprintf "%x\r\n%s\r\n", length $bytes, $bytes) }

sub event {
    my ($self, $q, $more) = @_;
    my $model = $q->{json} ? $q->{json}{model} : 'fake-1';
    $self->chunk($q, 'data: ' . $json->encode({ id => $q->{id}, object => 'chat.completion.chunk', created => int($q->{at} / 1000), model => $model, %$more }) . "\n\n");
}

# The next token of a scripted answer, or what comes after the last.
sub step {
    my ($self, $q) = @_;
    my $how = $q->{how};
    return $self->begin($q) if $how->{kind} eq 'embed';
    $self->head($q) if $q->{stream};
    while (1) {
        return $self->fault($q) if defined $how->{after} && $q->{sent} >= $how->{after};
        return $self->finish($q) if $q->{sent} >= @{ $how->{tokens} };
        $self->token($q, $how->{tokens}[ $q->{sent} ]);
        return if $q->{over};
        last if $how->{delay_ms} && ($q->{sent} < @{ $how->{tokens} } || defined $how->{after});
    }
    $self->later($how->{delay_ms}, $q);
}

sub token {
    my ($self, $q, $text) = @_;
    $q->{sent}++;
    $q->{text} .= $text;
    $self->event($q, { choices => [{ index => 0, delta => { content => $text }, finish_reason => undef }] }) if $q->{stream};
}

sub fault {
    my ($self, $q) = @_;
    my $kind = $q->{how}{kind};
    return if $kind eq 'stall';
    if ($kind eq 'ping') {
        $self->chunk($q, ": still here\n\n");
        return $self->later($q->{how}{ping_ms}, $q);
    }
    if ($q->{how}{clean}) {
        $self->send($q->{conn}, "0\r\n\r\n");
        return $self->over($q);
    }
    if ($kind eq 'malformed') {
        $self->chunk($q, defined $q->{how}{bytes} ? $q->{how}{bytes} : "data: {\"choices\": [\n\n");
        return $self->finish($q) if $q->{how}{go_on};
    }
    $q->{over} = 1;
    $self->break($q->{conn}, $q->{how}{rst});
}

sub break {
    my ($self, $c, $rst) = @_;
    @$c{qw(drop_when_sent rst)} = (1, $rst);
    $self->flush($c);
}

sub finish {
    my ($self, $q) = @_;
    my $reason = $q->{how}{finish_reason} || 'stop';
    my $in = 0;
    $in += int(length($_->{content} // '') / 4) + 1 for @{ $q->{json} ? $q->{json}{messages} || [] : [] };
    my $out = $q->{sent} || ($q->{how}{kind} eq 'step' ? 1 : 0);      # a stepped answer may be empty and still be one
    my $usage = { prompt_tokens => $in, completion_tokens => $out, total_tokens => $in + $out, %{ $q->{how}{usage} || {} } };
    if (!$q->{stream}) {
        return $self->answer($q, 200, $json->encode({ id => $q->{id}, object => 'chat.completion', created => int($q->{at} / 1000),
            model => $q->{json} ? $q->{json}{model} : 'fake-1', usage => $usage,
            choices => [{ index => 0, message => { role => 'assistant', content => $q->{text} }, finish_reason => $reason }] }));
    }
    $self->head($q);
    $self->event($q, { choices => [{ index => 0, delta => {}, finish_reason => $reason }] });
    $self->event($q, { choices => [], usage => $usage }) if $q->{json}{stream_options} && $q->{json}{stream_options}{include_usage};
    $self->chunk($q, "data: [DONE]\n\n");
    $self->send($q->{conn}, "0\r\n\r\n");
    $self->over($q) unless $q->{over};
}

# Commands of the test, one JSON object a line.
sub control {
    my $self = shift;
    my $n = sysread $self->{control}, my $bytes, 65536;
    return !defined $n && ($!{EAGAIN} || $!{EINTR}) unless $n;
    $self->{in} .= $bytes;
    while ($self->{in} =~ s/^(.*)\n//) {
        my $m = $json->decode($1);
        my $result = eval { $self->command($m) };
        my $reply = $json->encode($@ ? { error => "$@" } : { result => $result }) . "\n";
        IO::Handle::blocking($self->{control}, 1);
        my $done = 0;
        while ($done < length $reply) { $done += syswrite($self->{control}, $reply, length($reply) - $done, $done) || return 0 }
        IO::Handle::blocking($self->{control}, 0);
    }
    return 1;
}

sub command {
    my ($self, $m) = @_;
    my $cmd = $m->{cmd};
    if ($cmd eq 'default') { $self->{default} = $m->{how}; return 1 }
    if ($cmd eq 'next') { push @{ $self->{queue} }, @{ $m->{how} }; return 1 }
    if ($cmd eq 'count') { return scalar @{ $self->{requests} } }
    if ($cmd eq 'active') { return scalar grep { !$_->{over} } @{ $self->{requests} } }
    if ($cmd eq 'refuse') { return $self->refuse($m->{on}) }
    my $q = $self->{requests}[ ($m->{n} || 0) - 1 ] or die "no request $m->{n}\n";
    if ($cmd eq 'request') { return { map { $_ => $q->{$_} } grep { $_ ne 'conn' && $_ ne 'how' } keys %$q } }
    if ($cmd eq 'pending') { return length $q->{conn}{out} }
    if ($q->{over}) { die "request $q->{n} is over\n" }
    if ($cmd eq 'go') { $self->head($q) if $q->{stream}; $self->token($q, $m->{text} // "t$q->{sent} ") for 1 .. $m->{times}; return $q->{sent} }
    if ($cmd eq 'finish') { $self->finish($q); return 1 }
    if ($cmd eq 'cut') { $q->{over} = 1; $self->break($q->{conn}, $m->{rst}); return 1 }
    die "unknown command $cmd\n";
}

sub refuse {
    my ($self, $on) = @_;
    if ($on) {
        close $self->{listen} if $self->{listen};
        $self->{listen} = undef;
        $self->drop($_, 1) for values %{ $self->{conns} };
    } elsif (!$self->{listen}) {
        $self->{listen} = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Proto => 'tcp', Listen => 1024, ReuseAddr => 1)
            or die "listen: $@\n";
        $self->{listen}->blocking(0);
    }
    return 1;
}

1;
