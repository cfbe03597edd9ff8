"""STOA_* names that are no settings of Stoa: those of shops, which it starts."""

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
