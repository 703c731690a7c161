"""Names of faker.js that templates use, and what of the package faker gives the like. The package is an extra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamstore.errors import InvalidArgumentError

Call = Callable[[], Any]

# faker.js name -> (method of faker, keyword that a number in brackets goes to, or "")
NAMES: dict[str, tuple[str, str]] = {
    "name.firstName": ("first_name", ""),
    "name.lastName": ("last_name", ""),
    "name.findName": ("name", ""),
    "name.prefix": ("prefix", ""),
    "name.suffix": ("suffix", ""),
    "name.jobTitle": ("job", ""),
    "internet.email": ("email", ""),
    "internet.exampleEmail": ("safe_email", ""),
    "internet.userName": ("user_name", ""),
    "internet.url": ("url", ""),
    "internet.domainName": ("domain_name", ""),
    "internet.domainWord": ("domain_word", ""),
    "internet.domainSuffix": ("tld", ""),
    "internet.protocol": ("protocol", ""),
    "internet.userAgent": ("user_agent", ""),
    "internet.password": ("password", "length"),
    "internet.color": ("hex_color", ""),
    "internet.avatar": ("image_url", ""),
    "address.city": ("city", ""),
    "address.country": ("country", ""),
    "address.countryCode": ("country_code", ""),
    "address.state": ("state", ""),
    "address.stateAbbr": ("state_abbr", ""),
    "address.zipCode": ("postcode", ""),
    "address.streetName": ("street_name", ""),
    "address.streetAddress": ("street_address", ""),
    "address.secondaryAddress": ("secondary_address", ""),
    "address.streetSuffix": ("street_suffix", ""),
    "address.latitude": ("latitude", ""),
    "address.longitude": ("longitude", ""),
    "phone.phoneNumber": ("phone_number", ""),
    "company.companyName": ("company", ""),
    "company.companySuffix": ("company_suffix", ""),
    "company.catchPhrase": ("catch_phrase", ""),
    "company.bs": ("bs", ""),
    "commerce.color": ("safe_color_name", ""),
    "commerce.productName": ("product_name", ""),
    "commerce.product": ("product", ""),
    "commerce.productAdjective": ("product_adjective", ""),
    "commerce.productMaterial": ("product_material", ""),
    "commerce.department": ("department", ""),
    "commerce.price": ("price", ""),
    "lorem.word": ("word", ""),
    "lorem.words": ("words_joined", "nb"),
    "lorem.sentence": ("sentence", "nb_words"),
    "lorem.sentences": ("sentences_joined", "nb"),
    "lorem.paragraph": ("paragraph", "nb_sentences"),
    "lorem.slug": ("slug", ""),
    "lorem.text": ("text", ""),
    "finance.account": ("bban", ""),
    "finance.iban": ("iban", ""),
    "finance.bic": ("swift", ""),
    "finance.currencyCode": ("currency_code", ""),
    "finance.currencyName": ("currency_name", ""),
    "finance.amount": ("price", ""),
    "finance.creditCardNumber": ("credit_card_number", ""),
    "system.fileName": ("file_name", ""),
    "system.fileExt": ("file_extension", ""),
    "system.mimeType": ("mime_type", ""),
    "system.filePath": ("file_path", ""),
    "date.month": ("month_name", ""),
    "date.weekday": ("day_of_week", ""),
    "random.word": ("word", ""),
    "random.words": ("words_joined", "nb"),
    "random.locale": ("locale", ""),
}

_ADJECTIVES = "Small Ergonomic Rustic Sleek Practical Gorgeous Handmade Refined Incredible Tasty Licensed".split()
_MATERIALS = "Steel Wooden Concrete Plastic Cotton Granite Rubber Metal Soft Fresh Frozen".split()
_PRODUCTS = "Chair Car Computer Keyboard Mouse Bike Ball Gloves Shirt Table Shoes Hat Towels Soap Lamp".split()
_DEPARTMENTS = (
    "Books Movies Music Games Electronics Computers Home Garden Tools Grocery Health Beauty Toys Kids Baby Clothing "
    "Shoes Jewelry Sports Outdoors Automotive Industrial"
).split()


def make_faker(locale: str, seed: int) -> Any:
    """A Faker with commerce names. Raises InvalidArgumentError where the package or the locale is missing."""
    try:
        import faker
        from faker.providers import BaseProvider
    except ImportError:
        raise InvalidArgumentError(
            "names of people, places and the like need faker: pip install 'streamstore-kinesis[generate]'"
        ) from None

    class Commerce(BaseProvider):  # type: ignore[misc, unused-ignore]
        """What faker has no names for."""

        def product_adjective(self) -> str:
            return str(self.random_element(_ADJECTIVES))

        def product_material(self) -> str:
            return str(self.random_element(_MATERIALS))

        def product(self) -> str:
            return str(self.random_element(_PRODUCTS))

        def product_name(self) -> str:
            return f"{self.product_adjective()} {self.product_material()} {self.product()}"

        def department(self) -> str:
            return str(self.random_element(_DEPARTMENTS))

        def protocol(self) -> str:
            return str(self.random_element(("http", "https")))

        def price(self) -> str:
            return f"{self.random_int(100, 100_000) / 100:.2f}"

        def words_joined(self, nb: int = 3) -> str:
            return " ".join(self.generator.words(nb))

        def sentences_joined(self, nb: int = 3) -> str:
            return " ".join(self.generator.sentences(nb))

    try:
        made = faker.Faker(locale)
    except AttributeError:
        raise InvalidArgumentError(f"faker has no locale {locale!r}") from None
    made.add_provider(Commerce)
    made.seed_instance(seed)
    return made


def make_call(name: str, argument: Any, faker: Any) -> Call:
    """What gives the values of a name. Raises InvalidArgumentError for an argument that does not fit, or a locale that
    does not know it.
    """
    method, keyword = NAMES[name]
    try:
        call: Callable[..., Any] = getattr(faker, method)
    except AttributeError:
        raise InvalidArgumentError(f"this locale has no {name}") from None
    if argument is None:
        return call
    if not keyword:
        raise InvalidArgumentError("takes nothing in brackets")
    if isinstance(argument, bool) or not isinstance(argument, int) or not 1 <= argument <= 10_000:
        raise InvalidArgumentError(f"wants a count from 1 to 10,000, not {argument!r}")
    return lambda: call(**{keyword: argument})
