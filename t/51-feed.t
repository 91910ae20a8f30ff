# A user's whole stream: every conversation on one connection, with ids that resume all of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api qw(create_key is_problem);

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 3, nginx_workers => 2, model => $model, config => "lease: 3s\nturn: {attempts: 9}\n");

sub conversation { my $on = shift || $si; $on->json(POST => '/v1/conversations', {})->{json}{id} }
sub send_turn { my ($c, $text, $on) = @_; ($on || $si)->stream(POST => "/v1/conversations/$c/turns", { input => $text }) }
sub feed { my ($query, $headers, $on) = @_; my $s = ($on || $si)->stream(GET => "/v1/events$query", undef, $headers); $s->head; return $s }

# A turn whose answer is given step by step: its conversation, its stream and the number of its model request.
sub begin {
    my ($text, $c, $on) = @_;
    $c ||= conversation($on);
    my $n = $model->count + 1;
    $model->next(kind => 'step');
    my $s = send_turn($c, $text, $on);
    $s->wait_event('turn.started');
    $model->wait_request($n);
    return { c => $c, s => $s, n => $n, turn => $s->{seen}[0]{data}{turn} };
}
sub say { my ($t, $text) = @_; $model->go($t->{n}, $text) }
sub finish { my $t = shift; $model->finish($t->{n}); $t->{s}->wait_event('turn.completed') }

sub is_over { $_->{event} =~ /^turn\.(completed|failed|cancelled)$/ }
sub until_over { my ($f, $turn) = @_; $f->wait_for(sub { is_over() && $_->{data}{turn} eq $turn }, "the end of $turn") }
# Tokens that come together may be one delta.
sub until_said {
    my ($f, $t, $text) = @_;
    my $said = '';
    $f->wait_for(sub { $said .= $_->{data}{text} if $_->{event} eq 'delta' && $_->{data}{turn} eq $t->{turn}; $said =~ /\Q$text\E$/ }, "\"$text\"");
}
sub lines { return map { $_->{raw} } @_ }
# "12.7" of the events of one conversation, in the order in which they came.
sub of { my ($c, @e) = @_; return map { $_->{data}{id} } grep { $_->{data}{conversation} && $_->{data}{conversation} eq $c } @e }
sub once {
    my ($what, @e) = @_;
    my (%seen, %at);
    my @twice = grep { $seen{$_->{id}}++ } @e;
    my @back = grep {
        my ($t, $k) = split /\./, $_->{data}{id};
        my $last = $at{$_->{data}{conversation}};
        $at{$_->{data}{conversation}} = [$t, $k];
        $last && ($t < $last->[0] || ($t == $last->[0] && $k <= $last->[1]));
    } grep { $_->{data}{id} } @e;
    ok !@twice && !@back, "$what: no id twice, and in order" or diag(lines(@twice, @back));
}

# --- two conversations at once, on one connection ---

my $live = feed('?from=now');
is $live->head->{headers}{'content-type'}, 'text/event-stream', 'an event stream';
my $x = begin('First?');
my $y = begin('Second?');
say($x, 'x1 '); say($y, 'y1 '); say($x, 'x2 ');
until_said($live, $x, 'x2 '); until_said($live, $y, 'y1 ');
my $second = feed('');
until_said($second, $x, 'x2 '); until_said($second, $y, 'y1 ');
say($y, 'y2'); until_said($live, $y, 'y2');
finish($x); until_over($live, $x->{turn});
finish($y); until_over($live, $y->{turn});
until_over($second, $y->{turn});
my @all = $live->seen;
once('live', @all);
for my $t ($x, $y) {
    is_deeply [of($t->{c}, @all)], [map { $_->{id} } $t->{s}->seen], 'every event of a conversation, by its own id';
    my @mine = grep { $_->{data}{conversation} eq $t->{c} } @all;
    is_deeply [map { my %d = %{ $_->{data} }; delete $d{id}; delete $d{conversation}; \%d } @mine],
        [map { my %d = %{ $_->{data} }; delete $d{conversation}; \%d } $t->{s}->seen], 'says what the conversation\'s stream says';
}
is_deeply [sort map { $_->{text} } $second->seen], [sort map { $_->{text} } @all], 'a second device that came later has the same events';

# --- resume from each id ---

for my $k (0 .. $#all) {
    my $f = feed('', { 'Last-Event-ID' => $all[$k]{id} });
    my %over = map { $_->{data}{turn} => 1 } grep { $_->{event} eq 'turn.completed' } @all[0 .. $k];
    my %begun = map { $_->{data}{turn} => 1 } @all[0 .. $k];
    my @want = map { my $t = $_; $over{$t} ? () : (($begun{$t} ? () : "turn.accepted $t"), "turn.completed $t") } $x->{turn}, $y->{turn};
    until_over($f, $_) for grep { !$over{$_} } $x->{turn}, $y->{turn};
    my @got = map { "$_->{event} $_->{data}{turn}" } $f->seen;
    my $right = join("\n", sort @got) eq join("\n", sort @want);
    $right && next;
    fail "resumed behind event $k ($all[$k]{id})";
    diag("got:\n", map { "$_\n" } @got); diag("want:\n", map { "$_\n" } @want);
}
pass 'resumed behind each of ' . @all . ' events: what is missing of each turn, and nothing else';

# --- resume in the middle of running turns: the same bytes as who never left ---

$live = feed('?from=now');
$x = begin('Third?', $x->{c});
$y = begin('Fourth?');
say($x, 'a '); say($y, 'b '); until_said($live, $x, 'a '); until_said($live, $y, 'b ');
my @before = $live->seen;
my @devices = map { feed('', { 'Last-Event-ID' => $_->{id} }) } @before;
say($x, 'c '); say($y, 'd');
until_said($live, $x, 'c '); until_said($live, $y, 'd');
until_said($_, $y, 'd') for @devices;
finish($x); finish($y);
for my $f ($live, @devices) {
    until_over($f, $_->{turn}) for $x, $y;
}
@all = $live->seen;
my $same = 0;
for my $k (0 .. $#devices) {
    my @rest = grep { $_->{data}{turn} } @all[$k + 1 .. $#all];
    my @got = $devices[$k]->seen;
    $same += join('', sort map { "$_->{event} $_->{text}\n" } @got) eq join('', sort map { "$_->{event} $_->{text}\n" } @rest);
}
is $same, scalar @devices, 'each of ' . @devices . ' readers that resumed has the rest, byte for byte';
my ($first, @others) = map { join '', lines(($_->seen)[-2 .. -1]) } $live, @devices;
is scalar(grep { $_ ne $first } @others), 0, 'and all have the same ids in the end';

# --- from the start; what is no id ---

my $start = feed('?from=start');
until_over($start, $_->{turn}) for $x, $y;
once('from the start', $start->seen);
is scalar(grep { $_->{event} eq 'turn.completed' } $start->seen), 4, 'all turns so far';
is_deeply [map { $_->{data}{ordinal} } grep { $_->{event} eq 'turn.accepted' } $start->seen], [1 .. 4], 'in their order';
for my $id ('99', '12.7', 'x', '4-9', '4-0.1-0.2', '4' . '-1' x 200) {
    my $r = $si->http(GET => '/v1/events', $si->auth({ 'Last-Event-ID' => $id }));
    is_problem($r, 400, 'invalid_event_id', 'Last-Event-ID', length $id > 20 ? 'an id that is too long' : "$id is no id");
}
is_problem($si->http(GET => '/v1/events?from=then', $si->auth), 422, 'invalid_field', 'from', 'from=then');
is $si->http(HEAD => '/v1/events', $si->auth)->{status}, 200, 'HEAD';
my $eve = create_key($si, 'eve-corp', 'eve');
my $hers = feed('?from=start', { Authorization => "Bearer $eve" });
my $mine = begin('Not hers.');
say($mine, 'secret'); until_said($live, $mine, 'secret');
finish($mine);
is scalar($hers->seen), 0, 'another user sees nothing of it';
is $si->http(GET => '/v1/events', { Authorization => 'Bearer nobody' })->{status}, 401, 'and nobody nothing';

my $feeds = 0;
$feeds += $_->{feeds} for @{ $si->status->{workers} };
is $feeds, 2, 'two users read theirs, each in one worker';

# --- workers die: the one that runs a turn, and the one that has the feed ---

$live = feed('?from=now');
my $other = feed('?from=now');
$x = begin('Survive.');
$y = begin('You, too.');
say($x, 'half '); say($y, 'other half ');
until_said($live, $x, 'half '); until_said($live, $y, 'other half ');
$model->default(kind => 'tokens', tokens => ['whole']);
for my $pid ($si->worker_pids) {
    $si->kill9($pid);
    poll_until { my @now = $si->worker_pids; @now == 3 && !grep { $_ == $pid } @now } 30, 'the respawned worker';
}
for my $t ($x, $y) {
    for my $f ($live, $other) {
        my $end = until_over($f, $t->{turn});
        is_deeply [$end->{event}, $end->{data}{message}{content}], ['turn.completed', 'whole'], 'a turn whose worker was killed, on each device';
    }
}
once('over deaths', $live->seen);
once('on the other device', $other->seen);

# --- more conversations at once than an id can name: none is lost, each in order ---

$live = feed('?from=now');
my @many = map { begin("Number $_.") } 1 .. 20;
say($_, 'one ') for @many;
until_said($live, $_, 'one ') for @many[0 .. 9];
finish($_) for reverse @many;
until_over($live, $_->{turn}) for @many;
once('20 at once', $live->seen);
is scalar(grep { $_->{event} eq 'turn.accepted' } $live->seen), 20, 'each from its beginning';
is scalar(grep { length $_->{id} > 240 } $live->seen), 0, 'no id is longer than 240 bytes';

# --- a turn that waits its turn ---

$x = begin('First in line.');
my $waiting = send_turn($x->{c}, 'Second in line.');
$waiting->wait_event('turn.accepted');
$y = begin('Elsewhere.');
say($y, 'meanwhile'); until_said($live, $y, 'meanwhile');
my $mid = feed('', { 'Last-Event-ID' => ($live->seen)[-1]{id} });
finish($x); finish($y);
my $queued = $waiting->wait_event('turn.completed')->{data}{turn};
for my $f ($live, $mid) {
    until_over($f, $_) for $queued, $y->{turn};
}
once('with a queued turn', $live->seen);
is_deeply [of($x->{c}, $live->seen)], [map({ $_->{id} } $x->{s}->seen), map { $_->{id} } $waiting->seen], 'the queued one follows';

# --- another node; Redis away and back ---

my $b = $si->node(2);
my $there = feed('?from=now', undef, $b);
$x = begin('Read it there.');
say($x, 'far '); until_said($there, $x, 'far ');
$y = begin('Sent there.', undef, $b);
say($y, 'near '); until_said($_, $y, 'near ') for $live, $there;
my $moved = feed('', { 'Last-Event-ID' => ($live->seen)[-1]{id} }, $b);
finish($x); finish($y);
for my $f ($live, $there, $moved) {
    until_over($f, $_->{turn}) for $x, $y;
}
once('on two nodes', $there->seen);
is scalar(grep { $_->{event} eq 'turn.accepted' } $moved->seen), 0, 'who moves to another node resumes there';

$si->allow(qr/redis/i);
$b->allow(qr/redis/i);
$si->kill_redis;
$_->wait_event('stream.degraded') for $live, $there;
pass 'readers are told that Redis is away';
my $c = conversation($b);
$model->next(kind => 'tokens', tokens => ['unheard']);
my $unheard = send_turn($c, 'Who hears me?', $b)->wait_event('turn.completed')->{data}{turn};
$si->start_redis;
until_over($_, $unheard) for $live, $there;
pass 'and have it all when it is back';
once('over an outage of Redis', grep { $_->{event} ne 'stream.degraded' } $_->seen) for $live, $there;

# --- the workers are reloaded ---

$x = begin('Stay.');
kill HUP => $si->master_pid;
say($x, 'still ');
until_said($live, $x, 'still ');
finish($x);
until_over($live, $x->{turn});
$y = begin('After the reload.');
finish($y);
until_over($live, $y->{turn});
once('over a reload of the workers', grep { $_->{event} ne 'stream.degraded' } $live->seen);
done_testing;
