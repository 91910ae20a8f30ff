# si-client as a package: what npm packs of it, and that its types name what its code has.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use Test::More;
use SI::Test;

plan skip_all => 'npm is not installed: run scripts/deps' if grep { system("command -v $_ >/dev/null 2>&1") } qw(npm node tar);

my $from = root() . '/conf/console';
my $dir = File::Temp::tempdir(CLEANUP => 1);
my $package = "$dir/node_modules/si-client";
local %ENV = (%ENV, HOME => $dir, npm_config_offline => 'true', npm_config_update_notifier => 'false');

my $packed = JSON::PP::decode_json(scalar `cd $dir && npm pack --json --loglevel=error $from 2>/dev/null`);
is_deeply [sort map { $_->{path} } @{ $packed->[0]{files} }], [qw(package.json si-client.d.ts si-client.js)], 'npm packs the module, its types and what describes them';
is system("mkdir -p $package && tar -xzf $dir/$packed->[0]{filename} -C $package --strip-components=1"), 0, 'what it made can be unpacked';

# As a project sees it that has it among its node_modules.
open my $fh, '>', "$dir/use.mjs" or die $!;
print $fh <<'JS';
import * as all from 'si-client';
const names = (c) => Object.getOwnPropertyNames(c).filter((n) => /^[a-z]/.test(n) && !['constructor', 'length', 'name', 'prototype'].includes(n));
const out = {};
for (const [name, c] of Object.entries(all)) out[name] = [...new Set([...names(c.prototype), ...names(Object.getPrototypeOf(c.prototype) ?? {})])];
const client = new all.SiClient({ baseUrl: 'http://127.0.0.1:1', key: 'k' });
const stream = client.events();
const iterates = typeof stream[Symbol.asyncIterator] === 'function';
stream.close();
console.log(JSON.stringify({ out, iterates }));
JS
close $fh;
my $said = `cd $dir && node use.mjs 2>&1`;
my $has = eval { JSON::PP::decode_json($said) } || {};
ok $has->{iterates}, 'a project imports it by its name; a stream is an async iterator' or diag $said;

my $types = slurp("$package/si-client.d.ts");
is join(' ', sort keys %{ $has->{out} }), join(' ', sort $types =~ /^export (?:declare )?(?:class|const|function) (\w+)/mg), 'the types name what is exported, and nothing else';
my %object = map { $_ => 1 } qw(hasOwnProperty isPrototypeOf propertyIsEnumerable toString valueOf toLocaleString);
is join(' ', map { my $c = $_; map { "$c.$_" } grep { !$object{$_} && $types !~ /^\s+(?:readonly |get |static )*\Q$_\E[?(<:]/m } @{ $has->{out}{$c} } } sort keys %{ $has->{out} || {} }), '',
    'and every public member';

my @events = slurp(root() . '/conf/openapi.yaml') =~ m{^ {10}([a-z.]+): '#/components/schemas/\w+'$}mg;
cmp_ok scalar @events, '>=', 10, 'conf/openapi.yaml tells of events';
is join(' ', grep { $types !~ /'\Q$_\E'/ } @events), '', 'each has a type';

done_testing;
