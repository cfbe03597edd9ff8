-- Holds a request whose route says @hold until the edge agent knows the route that follows it.
--
-- It asks a service and does not look at the map again: after a reload the old worker never sees a
-- later change of the map, so a request that polls there would wait for nothing.
-- Loaded with `lua-load-per-thread`, so that held requests of one thread never wait for another.

-- `http-request lua.hold <port of the hold service> <seconds a request is held>`: as arguments of the
-- action, because HAProxy 2.6 does not hand those of `lua-load-per-thread` to every thread.

core.register_action("hold", { "http-req" }, function(txn, port, seconds)
    -- Both are of the strict alphabet of the Host check and of our own map: safe inside an address.
    local host = txn:get_var("txn.host")
    local tenant = txn:get_var("txn.tenant")
    local until_second = core.now().sec + tonumber(seconds)
    local answer
    local is_away
    repeat
        answer = core.httpclient():get({
            url = "http://127.0.0.1:" .. port .. "/hold?host=" .. host .. "&tenant=" .. tenant,
            headers = { ["host"] = { "hold" } },
            timeout = (tonumber(seconds) + 2) * 1000,
        })
        -- HAProxy's own words for a service that is away: the edge agent starts again with new code.
        is_away = not answer or answer.status == 502 or answer.status == 503
        if is_away then core.msleep(100) end
    until not is_away or core.now().sec >= until_second
    if answer and answer.status == 200 and answer.body then
        txn:set_var("txn.route", answer.body)
    end
    -- Any other end leaves the route at @hold, which is answered with the "starting" page or problem.
end, 2)
