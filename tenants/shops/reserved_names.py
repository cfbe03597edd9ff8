"""Names that no shop may have: they mean something to people, to mail or to the platform."""

_WORDS = """
abuse account accounts admin administrator api app apps assets auth autoconfig autodiscover
billing blog broadcasthost cdn console control dashboard dev dns docs edge email events ftp
graphql help host hosts hostmaster imap info internal invoice isatap kubernetes legal localdomain
localhost login logout mail mailer-daemon metrics mysql news no-reply nobody noc noreply ns1 ns2
ns3 oauth operator ops payment payments phpmyadmin pop pop3 postgres postmaster preview privacy
proxy public redis register registry root sales security shop shops signin signup sip smtp ssh ssl
staff staging static stats status stoa support sys sysadmin system team teams tenant tenants terms
test tls uucp vpn webmail webmaster wpad www www1 www2
"""

RESERVED_SLUGS = frozenset(_WORDS.split())
