#!/usr/bin/perl
# Clients of OpenAI and Anthropic, unchanged, and what nginx refuses before a worker is asked: a bad token, an outage, a body that is
# too large, a limit. They must understand it as if it came from whom they know. See edge.mjs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use Test::More;
use SI::Node;
use SI::Test;
use SI::Test::Jwt;

SI::Node->need('openai', '@anthropic-ai/sdk', 'ai', '@ai-sdk/openai-compatible', '@ai-sdk/anthropic');

my $dir = File::Temp::tempdir('si-edge-sdk-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('k1', 'ES256');
open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si tenant=t;\nsi_auth_jwt_keys issuer=id;\n", slurp(root() . '/conf/si-locations.conf') =~ s/^ *si_limit_failures.*\n//mgr;
close $fh;
# Nobody here is known before the limit, so each credential has one of its own; the keys of the issuer are nowhere to be had.
my $si = SI::Test->start(workers => 1, limits => 1,
    nginx => "include $dir/si-locations.conf;si_limit_zone \$si_caller zone=caller:8m rate=1r/s burst=1",
    config => "issuers:\n  id: { jwks_url: 'http://127.0.0.1:1/jwks.json' }\n");
my $token = $idp->token({ iss => 'https://id.example', sub => 'x', aud => 'si', exp => time + 300 }, kid => 'k1');
SI::Node->drive('sdk/edge.mjs', {}, $si->url, $si->key, 'sk_si_nobody', $token);
done_testing;
