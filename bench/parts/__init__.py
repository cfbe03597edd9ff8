"""What several benches use: options, machine, Stoas, visitors, peers, pools. None is run by itself."""
