# conf/openapi.yaml against the worker's table of routes, against the codes in the sources, and against what really comes.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Schema;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, config => "turn:\n  deadline: 60s\n");
my $asked = 0;
sub asked { return $model->wait_request(++$asked) }

# Of the file as it is, without the help of the program that turns it into JSON.
my (%described, $path, $in_paths);
for (split /\n/, slurp(root() . '/conf/openapi.yaml')) {
    $in_paths = $1 eq 'paths' if /^(\w+):/;
    next unless $in_paths;
    $path = $1 if m{^  (/\S*):$};
    $described{ uc($1) . " $path" } = 1 if /^    (get|put|post|patch|delete|head|options):$/;
}
my $routes = slurp(root() . '/worker/api/routes.c');
my %routes;
$routes{"$1 $2"} = $3 while $routes =~ m/\{ "(\w+)",\s+"([^"]+)",\s*\w+,\s*(true|false), [&\w]+ \}/g;
my %edge = ('GET /healthz' => 'true');      # answered by nginx alone

subtest 'routes' => sub {
    cmp_ok scalar(keys %routes), '>=', 12, 'the table was read';
    is_deeply [grep { !$described{$_} } sort keys %routes], [], 'every route of the worker is described';
    is_deeply [grep { !$routes{$_} && !$edge{$_} } sort keys %described], [], 'every description has a route';
};

my $r = $si->http(GET => '/openapi.json');
my $doc = eval { JSON::PP->new->utf8->decode($r->{body}) };

subtest '/openapi.json' => sub {
    is $r->{status}, 200, 'status';
    is $r->{headers}{'content-type'}, 'application/json', 'content type';
    ok $doc, 'it is JSON' or return;
    like $doc->{openapi}, qr/^3\.1/, 'OpenAPI 3.1';
    my %served;
    for my $p (keys %{ $doc->{paths} }) { $served{ uc($_) . " $p" } = 1 for grep { /^(?:get|put|post|patch|delete)$/ } keys %{ $doc->{paths}{$p} } }
    is_deeply \%served, \%described, 'it has the routes of the file';
    for my $route (sort keys %served) {
        my ($m, $p) = split / /, $route;
        my $op = $doc->{paths}{$p}{ lc $m };
        my $open = ref $op->{security} && !@{ $op->{security} };
        is $open ? 'true' : 'false', $routes{$route} || $edge{$route}, "$route: its need of a key";
        ok length $op->{operationId} && keys %{ $op->{responses} }, 'it has a name and answers';
        my @names = $p =~ /\{(\w+)\}/g;
        my @params = map { $_->{'$ref'} ? SI::Test::Schema->new($doc)->resolve($_->{'$ref'}) : $_ } @{ $doc->{paths}{$p}{parameters} || [] }, @{ $op->{parameters} || [] };
        is_deeply [sort map { $_->{name} } grep { $_->{in} eq 'path' } @params], [sort @names], 'the parameters of its path are described';
    }
    my @refs = $r->{body} =~ /"\$ref":\s*"([^"]+)"/g;
    my $schema = SI::Test::Schema->new($doc);
    is_deeply [grep { !eval { $schema->resolve($_) } } @refs], [], 'every reference leads somewhere';
    my %used = map { m{/([^/]+)$} ? ($1 => 1) : () } @refs;
    is_deeply [sort grep { !$used{$_} } map { keys %$_ } values %{ $doc->{components} }], ['TurnEvent', 'key', 'ticket', 'token'], 'and every component is used, four by their names';
};

my $schema = SI::Test::Schema->new($doc);

sub sources { my $glob = shift; return map { slurp($_) } map { glob root() . "/$_" } split / /, $glob }

subtest 'codes' => sub {
    my %in;
    for (sources('worker/*/*.c')) {
        $in{$1} = 1 while /\bco_problem\([^"]*?\d+,\s*"(\w+)"/g;
        $in{$1} = 1 while /\banswer_problem\([^"]*"[^"]*",\s*"([a-z_]+)"/g;
    }
    for (sources('worker/api/*.c')) { $in{$1} = 1 while /\bco_put\([^"]*"([a-z_]+)"/g }
    for (sources('ngx_si_module/*.c ngx_si_module/*.h')) {
        $in{$1} = 1 while /\bngx_si_auth_answer\(r,[^"]*"(\w+)"/g;
        $in{$1} = 1 while /\bNGX_SI_LIMIT_\w+_CODE\s+"(\w+)"/g;
        $in{$1} = 1 while /\bngx_si_limit_refuse\([^"]*"(\w+)"/g;
        $in{$1} = 1 while /\bngx_si_(?:ctx_problem|problem_send)\([^"]*"[^"]*",\s*"(\w+)"/g;
        $in{$1} = 1 while /\{ \d+, "[A-Z][^"]*", "(\w+)",/g;
    }
    my %listed = map { $_ => 1 } @{ $doc->{components}{schemas}{ProblemCode}{enum} };
    is_deeply [grep { !$listed{$_} } sort keys %in], [], 'every code of a problem is listed';
    is_deeply [grep { !$in{$_} } sort keys %listed], [], 'every listed one is used';
    my %turn;
    for (sources('worker/*/*.c')) {
        $turn{$1} = 1 while /\bprovider_fail\([^"]*"(\w+)"/g;
        $turn{$1} = 1 while /\bfail\(r,[^"]*"(\w+)"/g;
    }
    my $text = $doc->{components}{schemas}{TurnError}{properties}{code}{description};
    cmp_ok scalar(keys %turn), '>=', 10, 'codes of turns that fail';
    is_deeply [grep { $text !~ /`$_`/ } sort keys %turn], [], 'each is described';
};

# A test: the value fits the schema.
sub fits {
    my ($of, $value, $name) = @_;
    my @wrong = $schema->check($of, $value);
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok !@wrong, "$name is a $of" or diag join "\n", @wrong;
}

subtest 'what really comes' => sub {
    my $c = $si->json(POST => '/v1/conversations', { title => "T \x{1F600}" })->{json};
    fits(Conversation => $c, 'a new conversation');
    fits(Conversation => $si->json(POST => '/v1/conversations')->{json}, 'one without a title');
    fits(ConversationPage => $si->json(GET => '/v1/conversations')->{json}, 'a list');
    fits(ConversationPage => $si->json(GET => '/v1/conversations?limit=1')->{json}, 'a page');
    fits(MessagePage => $si->json(GET => "/v1/conversations/$c->{id}/messages")->{json}, 'no messages');
    fits(Readers => $si->json(GET => "/v1/conversations/$c->{id}/readers")->{json}, 'no readers');

    fits(Ticket => $si->json(POST => '/v1/tickets', { path => '/v1/events' }, $_)->{json}, 'a ticket') for {}, { Origin => 'https://app.example.com' };

    my $admin = member($si, create_key($si, 'described', 'root', '--scopes', 'admin'));
    fits(Revocation => $admin->json(POST => '/v1/revocations', $_)->{json}, 'a revocation') for { issuer => 'https://id.example', jti => 'a' }, { digest => '0' x 64, expires => '2999-01-01T00:00:00Z' };
    my $revocations = $admin->json(GET => '/v1/revocations')->{json};
    fits(RevocationPage => $revocations, 'revocations');
    is $admin->json(DELETE => "/v1/revocations/$revocations->{data}[0]{id}")->{status}, $_, 'one is taken back' for 204, 404;
    my $key = $admin->json(POST => '/v1/keys', { name => 'n', user => 'u', scopes => ['admin'], expires => '2100-01-01T00:00:00Z' })->{json};
    fits(Key => $key, 'a new key');
    is $admin->json(DELETE => "/v1/keys/$key->{id}")->{status}, 204, 'revoked';
    fits(Key => $admin->json(POST => '/v1/keys', { budget => { micro_dollars => 1, calls => 2, period => 'day' }, rate => { requests => 3, tokens => 4 } })->{json}, 'one with a budget');
    fits(KeyPage => $admin->json(GET => '/v1/keys')->{json}, 'keys');
    fits(Problem => $si->json(POST => '/v1/keys', {})->{json}, 'no admin');
    fits(UsageSums => $si->json(GET => '/v1/usage')->{json}, 'usage');

    my %seen;
    my $mapping = $doc->{components}{schemas}{TurnEvent}{discriminator}{mapping};
    my $event = sub {
        for my $e (@_) {
            $seen{ $e->{event} }++;
            fits($mapping->{ $e->{event} } =~ s{.*/}{}r, $e->{data}, "$e->{id} $e->{event}");
            fits(TurnEvent => $e->{data}, 'the same');
        }
    };
    my $turn = sub { my $t = $si->json(GET => "/v1/turns/$_[0]")->{json}; fits(Turn => $t, "a turn that is $t->{state}"); return $t };

    $model->next(kind => 'step');
    my $s = $si->stream(POST => "/v1/conversations/$c->{id}/turns", { input => 'x', client_turn_id => 'c' });
    my $n = asked();
    my $queued = post_turn($si, $c->{id}, { input => 'queued', agent => 'default' });
    fits(Turn => $queued, 'the answer 202');
    $turn->($queued->{id});
    $model->go($n, 'word');
    $event->($s->wait_event('delta'));
    $turn->($s->{seen}[0]{data}{turn});
    $model->finish($n);
    $event->($s->seen, $s->until_end);
    $turn->($s->{seen}[0]{data}{turn});
    $turn->(wait_turn($si, $queued->{id})->{id});
    $asked++;

    for (['status' => 'failed', kind => 'status', status => 400], ['reasoning' => 'completed', kind => 'raw', bytes => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        . join '', map { "data: $_\n\n" } '{"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}', '{"choices":[{"index":0,"delta":{"content":"a"}}]}',
            '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}', '[DONE]'])
    {
        my ($what, $state, %how) = @$_;
        $model->next(%how);
        my @e = $si->stream(POST => "/v1/conversations/$c->{id}/turns", { input => $what })->until_end;
        $event->(@e);
        my $t = $turn->($e[0]{data}{turn});
        is $t->{state}, $state, "$what: $state";
        asked();
    }
    for my $said ('', 'some') {
        $model->next(kind => 'step');
        my $u = $si->stream(POST => "/v1/conversations/$c->{id}/turns", { input => 'to be cancelled' });
        my $id = $u->next_event->{data}{turn};
        my $m = asked();
        if ($said) { $model->go($m, $said); $u->wait_event('delta') }
        fits(Turn => $si->json(POST => "/v1/turns/$id/cancel")->{json}, 'the answer of cancel');
        $event->($u->until_end);
    }
    $model->next(kind => 'step');
    post_turn($si, $c->{id}, 'before');
    my $m = asked();
    my $q = post_turn($si, $c->{id}, 'cancelled in the queue');
    fits(Turn => $si->json(POST => "/v1/turns/$q->{id}/cancel")->{json}, 'the answer of cancel for a queued one');
    $event->($si->stream(GET => "/v1/turns/$q->{id}/events")->until_end);
    $model->finish($m);
    my $t = run_turn($si, $c->{id}, { input => 'x', model => 'offline' });
    fits(Turn => $t, 'a turn that was waited for');
    fits(MessagePage => $si->json(GET => "/v1/conversations/$c->{id}/messages")->{json}, 'messages');
    my $replay = $si->stream(GET => "/v1/conversations/$c->{id}/events?from=start");
    my @replay;
    do { push @replay, $replay->next_event } until $replay[-1]{event} eq 'turn.completed' && $replay[-1]{data}{turn} eq $t->{id};
    $event->(@replay);
    is_deeply [grep { !$seen{$_} } sort keys %$mapping], ['auth.expired', 'stream.degraded', 'turn.restarted'], 'every kind of event was seen, but for those of outages and tokens';

    my $ask = sub { return $si->json(POST => '/v1/chat/completions', { messages => [{ role => 'user', content => 'x' }], @_ }) };
    fits(ChatCompletion => $ask->(model => 'offline')->{json}, 'a chat completion');
    fits(Response => $si->json(POST => '/v1/responses', { model => 'offline', input => 'x' })->{json}, 'a response');
    fits(OpenAIError => $ask->(model => 'nobody')->{json}, 'one that cannot be');
    $ask = sub { return $si->json(POST => '/v1/messages', { max_tokens => 50, messages => [{ role => 'user', content => 'x' }], @_ }) };
    fits(AnthropicMessage => $ask->(model => 'offline')->{json}, 'a message');
    fits(AnthropicError => $ask->(model => 'nobody')->{json}, 'one that cannot be');
    fits(ModelList => $si->json(GET => '/v1/models')->{json}, '/v1/models');
    fits(Model => $si->json(GET => "/v1/models/$_")->{json}, $_) for qw(offline lexical);
    for my $format (qw(float base64)) {
        my $ask = { model => 'lexical', input => ['a', 'b'], encoding_format => $format, dimensions => 16, user => undef };
        fits(EmbeddingCreate => $ask, 'a request for embeddings');
        fits(EmbeddingList => $si->json(POST => '/v1/embeddings', $ask)->{json}, 'embeddings');
    }

    fits(Ready => JSON::PP->new->decode($si->http(GET => '/readyz')->{body}), '/readyz');
    for (['POST', "/v1/conversations/$c->{id}/turns", '{}'], ['POST', '/v1/conversations', '{'], ['GET', '/v1/nothing'], ['GET', '/nothing'], ['PUT', '/v1/conversations', '{}'],
        ['GET', "/v1/conversations/$c->{id}/events?last_event_id=x"], ['GET', '/v1/conversations?cursor=x'], ['GET', '/v1/conversations?limit=0'])
    {
        my $p = $si->json(@$_);
        fits(Problem => $p->{json}, "$_->[0] $_->[1] $p->{status}");
        is $p->{json}{status}, $p->{status}, 'with its status';
    }
};

subtest 'statuses of every route are described' => sub {
    # What the access log has seen in this test, against the answers of each operation.
    my @patterns = map { [split / /] } keys %described;
    my $missing = {};
    for (split /\n/, slurp($si->dir . '/logs/access.log')) {
        my $l = JSON::PP->new->decode($_);
        my $uri = $l->{path} // $l->{uri};
        for (@patterns) {
            my ($m, $p) = @$_;
            my $re = join '[^/]+', map { quotemeta } split /\{\w+\}/, $p, -1;
            next unless $l->{method} eq $m && $uri =~ /^$re$/;
            $missing->{"$m $p $l->{status}"}++ unless $doc->{paths}{$p}{ lc $m }{responses}{ $l->{status} } || $l->{status} == 499;
        }
    }
    is_deeply [sort keys %$missing], [], 'none is missing';
};

done_testing;
