"""STOA_* names that are no settings of Stoa: of shops, which it starts, and of its tests."""

# What a shop's program finds in its environment; images/shop reads them.
SHOPS = {
    "STOA_TENANT": "the shop's slug",
    "STOA_SHOP_NAME": "the shop's name",
    "STOA_LANGUAGE": "en or ja",
    "STOA_CURRENCY": "three capitals such as EUR",
    "STOA_PUBLIC_URL": "the shop's address",
    "STOA_FIRST_LOGIN_HASH": "a salted hash of the merchant's first password",
    "STOA_DATA": "where the reference shop keeps its data, outside a container",
}
TESTS = {
    "STOA_TEST_HOME": "the servers of a test run",
    "STOA_TEST_WORKER": "which of pytest's workers this is",
    "STOA_TEST_S3_SERVER": "another program than moto's server",
    "STOA_BROWSER": "the start of a setting of Django's",
    "STOA_FAKE": "how a container of the fake agent goes wrong",
    "STOA_FAKE_AGENT": "an older agent",
    "STOA_CHAOS_SEED": "the chaos run to repeat",
    "STOA_LAB_PARTITION_SECONDS": "how long a host is cut off",
}
