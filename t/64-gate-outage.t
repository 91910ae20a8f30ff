# Postgres and Redis are away at once, on two nodes: who is known goes on, who is not hears 503 and when to ask again, and nobody
# is told that a credential is wrong.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use Test::More;

my $dir = File::Temp::tempdir('si-gate-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir)->add('k', 'RS256');
$idp->write("$dir/keys.json");
open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si;\nsi_auth_jwt_keys file=$dir/keys.json;\n",
    "si_auth_claim tenant org;\ninclude ", root(), "/conf/si-locations.conf;\n";
close $fh;

my $si = SI::Test->start(nginx => "include $dir/si-locations.conf");
# A node that knows a key for no time of its own, and goes on with it for a moment only.
my $brief = $si->node(2, config => "auth: { cache: 100ms, negative_cache: 100ms, grace: 4s }\n");
my @nodes = ($si, $brief);

sub token { return $idp->token({ iss => 'https://id.example', aud => 'si', org => 'acme', exp => time + 600, sub => shift }, kid => 'k') }

# 404 at this door is the answer to who may come in; it needs no store.
sub ask { my ($node, $credential) = @_; return member($node, $credential)->json(GET => '/v1/conversations/no-id') }

# The same without waiting for the answer.
sub send_to { my ($node, $credential) = @_; return member($node, $credential)->stream(GET => '/v1/conversations/no-id', undef, { Accept => '*/*', Connection => 'close' }, keep_body => 1) }

my $ready = sub { my ($node, $what) = @_; return $node->http(GET => '/readyz')->{body} =~ $what };

my %outage = (
    hang => sub {
        my @frozen = ($si->postgres_pids, $si->redis_pid);
        kill STOP => @frozen;
        return sub { kill CONT => @frozen };
    },
    end => sub {
        $si->stop_postgres;
        $si->kill_redis;
        for my $node (@nodes) { poll_until { $ready->($node, qr/"redis":false/) } undef, 'the loss of Redis' }
        return sub { $si->start_postgres; $si->start_redis };
    },
);

for my $how (qw(hang end)) {
    subtest "both stores $how" => sub {
        my %known = (key => create_key($si, 'acme', "ann-$how"), token => token("anna-$how"));
        my %new = (key => create_key($si, 'acme', "bob-$how"), token => token("boris-$how"));
        my $ticket = member($si, $known{key})->json(POST => '/v1/tickets', { path => '/v1/events' })->{json}{ticket};
        for my $node (@nodes) { is ask($node, $known{$_})->{status}, 404, "a $_ is known" for sort keys %known }

        my $back = $outage{$how}->();
        is ask($brief, $known{token})->{status}, 404, 'a token that is known goes on for the moment';
        is ask($si, $known{$_})->{status}, 404, "a $_ that is known goes on" for qw(key token key token);
        # Each of these waits for the stores as long as a worker does: all at once, then.
        my @unknown = (['a good key that was not used before', map { send_to($_, $new{key}) } @nodes],
            ['a good token of one who was not seen before', map { send_to($_, $new{token}) } @nodes],
            ['a key that nobody has', send_to($si, stranger())],
            ['a ticket', SI::Test::Stream->new(port => $si->port, method => 'GET', path => "/v1/events?ticket=$ticket", keep_body => 1, headers => { Connection => 'close' })]);
        my %heard;
        poll_until { my $status = ask($brief, $known{key})->{status}; $heard{$status} = 1; $status == 503 } undef, 'the end of what a key is known for';
        is $heard{401}, undef, 'a key that is not known any more is unknown, not wrong';
        for (@unknown) {
            my ($name, @answers) = @$_;
            is_problem SI::Test::answer($_), 503, 'store_unavailable', undef, $name for @answers;
        }
        is ask($si, $known{key})->{status}, 404, 'a key that is known goes on still';
        is_problem ask($si, $_), 401, /^sk/ ? 'unauthorized' : 'invalid_token', undef, 'what is no credential at all is none' for 'sk_si_x', 'a.b.c';

        $back->();
        for my $node (@nodes) {
            poll_until { ask($node, $_)->{status} == 404 } undef, 'the stores' for values %known, values %new;
        }
        is_problem ask($_, stranger()), 401, 'unauthorized', undef, 'all is as before' for @nodes;
        for my $node (@nodes) { poll_until { $ready->($node, qr/"redis":true/) } undef, 'Redis' }
    };
}

done_testing;
