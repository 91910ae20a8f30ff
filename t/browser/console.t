#!/usr/bin/perl
# The console in Chromium, against a whole Si whose model is stepped from here. console.mjs drives the browser.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use JSON::PP ();
use Test::More;
use SI::Browser;
use SI::Model;
use SI::Test;

SI::Browser->need;

my $json = JSON::PP->new->allow_nonref->utf8;
my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model);
my $shots = $ENV{SI_SHOTS} || $si->dir . '/shots';
mkdir $shots;

my $request = 0;        # the request of the model that is being stepped; it counts from 1
my $asked = 0;          # requests so far

my %do = (
    step => sub { $model->next(kind => 'step'); $request = ++$asked },
    request => sub { $model->wait_request($request) },
    go => sub { $model->wait_request($request); $model->go($request, $json->decode($_[0])) },
    finish => sub { $model->finish($request) },
    tokens => sub { $model->next(kind => 'tokens', tokens => ['I ', 'waited.']); $asked++ },
    failing => sub { $model->next(kind => 'status', status => 400, body => '{"error":{"message":"no"}}'); $asked++ },
    kill => sub { $si->kill9(($si->nginx_pids)[0]) },
    offline => sub {
        my ($id, $text) = split / /, $_[0], 2;
        my $r = $si->json(POST => "/v1/conversations/$id/turns", { input => $json->decode($text), model => 'offline' });
        die "status $r->{status}: $r->{body}" unless $r->{status} == 200 && $r->{json}{state} eq 'completed';
    },
);

SI::Browser->drive('console.mjs', \%do, $si->url, $si->key, $shots);
diag("the screenshots are in $shots") unless Test::More->builder->is_passing;
done_testing;
